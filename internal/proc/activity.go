package proc

import (
	"fmt"
	"strings"
)

// Activity tells whether a thread runs: the text returned changes when it has run
// in between. That of a thread asleep in a system call stays the same.
func Activity(pid, tid int) (string, error) {
	at := fmt.Sprintf("task/%d/", tid)
	if b, err := readFile(Path(pid, at+"schedstat")); err == nil {
		return string(b), nil
	}
	b, err := readFile(Path(pid, at+"status")) // a kernel without CONFIG_SCHED_INFO
	if err != nil {
		return "", err
	}
	_, switches, _ := strings.Cut(string(b), "\nvoluntary_ctxt_switches:")
	return switches, nil
}

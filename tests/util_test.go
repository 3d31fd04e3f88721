package tests

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// writeText writes n bytes of words, compressible as text is.
func writeText(w io.Writer, n int) error {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	words := make([]string, 4096)
	for i := range words {
		b := make([]byte, 3+rng.IntN(8))
		for j := range b {
			b[j] = 'a' + byte(rng.IntN(26))
		}
		words[i] = string(b)
	}
	buf := bufio.NewWriter(w)
	for n > 0 {
		s := words[rng.IntN(len(words))] + " "
		if rng.IntN(12) == 0 {
			s += "\n"
		}
		s = s[:min(len(s), n)]
		n -= len(s)
		if _, err := buf.WriteString(s); err != nil {
			return err
		}
	}
	return buf.Flush()
}

// unharmed says what is wrong with a process that should run on as before: it has
// ended, is stopped, or has a tracer.
func unharmed(pid int) error {
	var last error
	for range 50 { // the kernel detaches a dead tracer's tasks in its own time
		status, err := proc.ReadThreadStatus(pid, proc.Living(pid))
		switch {
		case err != nil:
			return err
		case status.TracerPid != 0:
			last = fmt.Errorf("pid %d is traced by pid %d", pid, status.TracerPid)
		case strings.ContainsRune("TtZX", rune(status.State)):
			last = fmt.Errorf("pid %d is in state %c", pid, status.State)
		default:
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return last
}

// gone reports whether a process does not exist any more. It reaps restored ones
// whose ckpt-apply is gone, if they are children of the tests.
func gone(pid int) bool {
	_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return errors.Is(err, os.ErrNotExist)
}

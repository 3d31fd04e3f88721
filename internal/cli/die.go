package cli

import (
	"fmt"
	"os"
	"time"
)

// Die reports a failure and ends the program at once, for a command that is
// stuck where nothing else ends it. That the failure can't be told, for nobody
// reads standard error, does not keep it.
func (inv *Invocation) Die(err error) {
	told := make(chan int, 1)
	go func() { told <- inv.Log.report(err, false) }()
	select {
	case status := <-told:
		os.Exit(status)
	case <-time.After(grace):
		os.Exit(statusOf(err))
	}
}

// Error tells of a failure at once that the program ends with later.
func (l *Log) Error(format string, args ...any) { l.line("error: ", fmt.Sprintf(format, args...)) }

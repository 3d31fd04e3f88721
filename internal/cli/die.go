package cli

import (
	"fmt"
	"os"
	"time"
)

// Die reports a failure and ends the program at once, for a command that is stuck
// where nothing else ends it. It does so even if nobody reads standard error.
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

// Error reports at once a failure that the program will end with.
func (l *Log) Error(format string, args ...any) { l.line("error: ", fmt.Sprintf(format, args...)) }

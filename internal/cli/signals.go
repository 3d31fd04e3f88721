package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Signalled is the cause of a context that a signal cancelled.
type Signalled struct{ Signal unix.Signal }

func (s *Signalled) Error() string { return fmt.Sprintf("ended by %v", s.Signal) }

// grace is how long a command has to end by itself after a signal. It may be
// stuck in a read or write; nothing depends on how it ends.
const grace = 500 * time.Millisecond

// watchSignals returns a context that SIGINT, SIGTERM and SIGHUP cancel; a second
// signal, or the end of the grace period, ends the program at once. Signals that are
// ignored from the start, as under nohup(1), stay ignored.
//
// SIGPIPE is caught and dropped, so that a reader's death comes up as EPIPE and
// there is time to let a target go; if it were ignored, children would inherit that.
//
// With suspend, SIGTSTP (^Z) ends it like these.
//
// The function returned stops all this but the last.
func watchSignals(suspend bool) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	ch := make(chan os.Signal, 4)
	ending := []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP}
	if suspend {
		ending = append(ending, unix.SIGTSTP)
	}
	for _, s := range ending {
		if !signal.Ignored(s) {
			signal.Notify(ch, s)
		}
	}
	done := make(chan struct{})
	go func() {
		var status int
		var timeout <-chan time.Time
		for {
			select {
			case s := <-ch:
				if timeout != nil {
					os.Exit(128 + int(s.(unix.Signal)))
				}
				status = 128 + int(s.(unix.Signal))
				cancel(&Signalled{s.(unix.Signal)})
				timeout = time.After(grace)
			case <-timeout:
				os.Exit(status)
			case <-done:
				return
			}
		}
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(ch)
		close(done)
	})
}

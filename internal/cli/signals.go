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

// watchSignals returns a context that SIGINT, SIGTERM and SIGHUP cancel; a
// second one, or grace, ends the program at once. SIGPIPE is caught and dropped, so that a
// reader's death comes up as EPIPE and there is time to let a target go;
// ignored, it would be so in children, too.
func watchSignals() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, unix.SIGPIPE)
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case s := <-ch:
				if n > 0 {
					os.Exit(128 + int(s.(unix.Signal)))
				}
				cancel(&Signalled{s.(unix.Signal)})
				time.AfterFunc(grace, func() { os.Exit(128 + int(s.(unix.Signal))) })
			case <-done:
				return
			}
		}
	}()
	var once sync.Once
	return ctx, func() {
		once.Do(func() {
			signal.Stop(ch)
			close(done)
		})
	}
}

// RefuseTerminal is an error when f, which a stream is read from or written to,
// is a terminal.
func RefuseTerminal(f *os.File, hint string) error {
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	return WithHint(Exit(StatusUsage, fmt.Errorf("%s is a terminal, and a stream is not text", f.Name())), hint)
}

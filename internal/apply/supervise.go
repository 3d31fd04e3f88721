package apply

import (
	"errors"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// forwarded are the signals that a user means for the restored program.
var forwarded = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGTSTP, unix.SIGCONT, unix.SIGWINCH,
	unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM}

// supervisor stays as the parent of a restored process.
type supervisor struct {
	pid     int
	signals chan os.Signal
	term    *terminal // nil unless it is lent to the program
	pidFile *pidFile  // to be removed at the end
}

// newSupervisor begins to catch signals. They are passed on by wait.
func newSupervisor(pid int) *supervisor {
	s := &supervisor{pid: pid, signals: make(chan os.Signal, 16)}
	signal.Notify(s.signals, forwarded...)
	return s
}

// redraw tells the foreground group to look at the terminal's size. A program with a
// screen of its own, such as vim, then draws it again; any other doesn't notice.
func (s *supervisor) redraw() {
	if s.term != nil {
		_ = unix.Kill(-s.term.lentTo, unix.SIGWINCH) // it may just have ended
	}
}

// wait passes signals on and returns the process's exit status as a shell would: its
// own, or 128 plus the signal that killed it. When the process stops, so does
// ckpt-apply, and when ckpt-apply is continued, so is the process.
func (s *supervisor) wait() (int, error) {
	changes := make(chan unix.WaitStatus)
	failed := make(chan error, 1)
	go func() {
		for {
			var ws unix.WaitStatus
			_, err := unix.Wait4(s.pid, &ws, unix.WUNTRACED, nil)
			switch {
			case err == unix.EINTR:
			case err != nil:
				failed <- os.NewSyscallError("wait4", err)
				return
			default:
				changes <- ws
			}
		}
	}()
	for {
		select {
		case sig := <-s.signals:
			_ = unix.Kill(s.pid, sig.(unix.Signal)) // it may just have ended
		case ws := <-changes:
			switch {
			case ws.Stopped():
				s.stopToo()
			case ws.Exited():
				return ws.ExitStatus(), s.close()
			case ws.Signaled():
				return 128 + int(ws.Signal()), s.close()
			}
		case err := <-failed:
			return 0, err
		}
	}
}

func (s *supervisor) close() error {
	signal.Stop(s.signals)
	err := s.pidFile.remove()
	if s.term != nil {
		s.term.takeBack()
		err = errors.Join(err, s.term.f.Close())
	}
	return err
}

// stopToo stops this process, so that the shell takes over. When it is continued, it
// gives the terminal back to the program and continues that.
func (s *supervisor) stopToo() {
	var settings []byte
	if s.term != nil {
		settings = s.term.takeBack()
	}
	_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
	if s.term != nil {
		s.term.lend(s.pid, settings)
	}
	_ = unix.Kill(s.pid, unix.SIGCONT)
}

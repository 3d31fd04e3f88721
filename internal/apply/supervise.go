package apply

import (
	"errors"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// forwarded are the signals a user means for the restored program.
var forwarded = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGTSTP, unix.SIGCONT, unix.SIGWINCH,
	unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM}

// supervisor stays as the parent of a restored process.
type supervisor struct {
	pid     int
	signals chan os.Signal
	term    *terminal // nil unless it is lent to the program
	pidFile *pidFile  // to be removed in the end
}

// newSupervisor begins to catch signals; they are kept until wait.
func newSupervisor(pid int) *supervisor {
	s := &supervisor{pid: pid, signals: make(chan os.Signal, 16)}
	signal.Notify(s.signals, forwarded...)
	return s
}

// redraw tells the group in the terminal's foreground to look at its size: who
// shows a picture there, such as vim, draws it anew, and nobody else notices.
func (s *supervisor) redraw() {
	if s.term != nil {
		_ = unix.Kill(-s.term.lentTo, unix.SIGWINCH) // it may have just ended
	}
}

// wait passes signals on and returns the process's exit status as a shell
// would: its own, or 128 and the signal that killed it. When the process stops,
// so does ckpt-apply, and when it is continued, the process is.
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
			_ = unix.Kill(s.pid, sig.(unix.Signal)) // it may have just ended
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

// stopToo stops this process, so that the shell takes over, and when somebody
// continues it gives the terminal back to the program and continues that.
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

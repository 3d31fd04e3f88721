package apply

import (
	"context"
	"errors"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// forwarded are the signals that a user means for the restored program.
var forwarded = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGTSTP, unix.SIGCONT, unix.SIGWINCH,
	unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM}

// keeper stays with the restored program when it runs: a supervisor, or, in a pid
// namespace of the tree's own, the link to one outside.
type keeper interface {
	// announce tells the process id of the program before the host notices anything.
	announce(pid int) error
	// allow waits until whoever hands the tree over says that it may run, if --prepared asks for that.
	allow(ctx context.Context, checkpoint string) error
	// begin is called when nothing is left that may fail but to let the program run.
	// group, if not 0, gets the terminal, with these settings.
	begin(group int, termios []byte) error
	// loosen is called when the first task is about to run even if we die.
	loosen() error
	// leave is called when the program is about to run. With --detach, our death does not
	// end it from now on.
	leave() error
	// runs is called when the program runs. It reports whether there is something to
	// wait for.
	runs() (wait bool, err error)
	// wait returns the exit status of the program when it has ended.
	wait() (int, error)
	close() error
}

// supervisor stays as the parent of a restored process, or of the init of its namespace.
type supervisor struct {
	pid     int
	o       *Options
	pass    func(unix.Signal) // gives the process a signal
	signals chan os.Signal
	term    *terminal // nil unless it is lent to the program
	pidFile *pidFile  // to be removed at the end
}

func newSupervisor(o *Options) *supervisor {
	s := &supervisor{o: o, signals: make(chan os.Signal, 16)}
	s.pass = func(sig unix.Signal) { _ = unix.Kill(s.pid, sig) } // it may just have ended
	return s
}

func (s *supervisor) announce(pid int) (err error) {
	s.pid = pid
	s.pidFile, err = writePIDFile(s.o.PIDFile, pid)
	return err
}

// begin also begins to catch signals. They are passed on by wait.
func (s *supervisor) begin(group int, termios []byte) error {
	signal.Notify(s.signals, forwarded...)
	s.o.Running()
	if group != 0 && !s.o.Detach {
		if s.term = openTerminal(); s.term != nil {
			s.term.lend(group, termios)
		}
	}
	return nil
}

func (s *supervisor) leave() error {
	s.free()
	return nil
}

// runs also tells the foreground group to look at the terminal's size. A program with a
// screen of its own, such as vim, then draws it again; any other doesn't notice.
func (s *supervisor) runs() (wait bool, err error) {
	if s.o.target != nil {
		s.free()
		s.o.target.Yes()
	}
	if s.term != nil {
		_ = unix.Kill(-s.term.lentTo, unix.SIGWINCH) // it may just have ended
	}
	if !s.o.Detach {
		return true, nil
	}
	s.pidFile = nil
	if os.Getpid() == 1 { // all of its namespace would end with us
		return true, nil
	}
	return false, s.close()
}

// wait passes signals on and returns the process's exit status as a shell would: its
// own, or 128 plus the signal that killed it. When the process stops, so does
// ckpt-apply, and when ckpt-apply is continued, so is the process.
func (s *supervisor) wait() (int, error) {
	changes, failed := watchChild(s.pid)
	return s.watch(changes, failed)
}

func (s *supervisor) watch(changes <-chan unix.WaitStatus, failed <-chan error) (int, error) {
	for {
		select {
		case sig := <-s.signals:
			s.pass(sig.(unix.Signal))
		case ws := <-changes:
			if ws.Stopped() {
				s.stopToo()
			} else if status, ended := shellStatus(ws); ended {
				return status, s.close()
			}
		case err := <-failed:
			return 0, err
		}
	}
}

// watchChild tells when a child stops and ends. As the init of a pid namespace we are given
// all orphans of it, and wait for them, too.
func watchChild(pid int) (<-chan unix.WaitStatus, <-chan error) {
	changes, failed := make(chan unix.WaitStatus), make(chan error, 1)
	which := pid
	if os.Getpid() == 1 {
		which = -1
	}
	go func() {
		for {
			var ws unix.WaitStatus
			switch got, err := unix.Wait4(which, &ws, unix.WUNTRACED, nil); {
			case err == unix.EINTR:
			case err != nil:
				failed <- os.NewSyscallError("wait4", err)
				return
			case got == pid:
				changes <- ws
			}
		}
	}()
	return changes, failed
}

// shellStatus is the exit status that a shell reports for a process that has ended.
func shellStatus(ws unix.WaitStatus) (status int, ended bool) {
	if ws.Signaled() {
		return 128 + int(ws.Signal()), true
	}
	return ws.ExitStatus(), ws.Exited()
}

func (s *supervisor) close() error {
	signal.Stop(s.signals)
	err := s.pidFile.remove()
	if s.term != nil {
		s.term.takeBack()
		err = errors.Join(err, s.term.f.Close())
		s.term = nil
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
	s.pass(unix.SIGCONT)
}

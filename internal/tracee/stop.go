package tracee

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// GroupStop puts a process into the stop that sig, one of the four stop signals, causes by
// its default action. threads are all its threads, the first one first, each in the event
// stop in which Prepare leaves it. They stay there without running an instruction, and the
// process is still stopped when they have been let go. Its parent is notified, as of any
// stop. GroupStop returns false if the kernel discarded the signal, as it does in an
// orphaned process group, except for SIGSTOP, or if
// somebody's SIGCONT came at once.
func GroupStop(threads []*Tracee, sig unix.Signal, mask uint64) (bool, error) {
	first := threads[0]
	taken, err := first.takeStop(sig)
	if err != nil || !taken {
		return false, err
	}
	for _, t := range threads[1:] { // each takes part in the stop
		if err := unix.PtraceCont(t.TID, 0); err != nil {
			return false, t.Wrap("stop", err)
		}
		if err := t.awaitEventStop(0); err != nil {
			return false, err
		}
	}
	return true, first.SetSignalMask(mask)
}

// takeStop delivers a stop signal to the thread. It sends SIGSTOP, which can't be blocked,
// and replaces it with sig at the signal-delivery-stop; all other signals are blocked in
// the meantime.
func (t *Tracee) takeStop(sig unix.Signal) (bool, error) {
	if err := t.SetSignalMask(^uint64(0)); err != nil {
		return false, err
	}
	if err := t.awaitSIGSTOP(); err != nil {
		return false, err
	}
	if err := t.SetSignalMask(^(uint64(1) << (sig - 1))); err != nil {
		return false, err
	}
	// If the signal has no effect, the thread must not run on.
	if err := unix.PtraceInterrupt(t.TID); err != nil {
		return false, t.Wrap("stop", err)
	}
	if err := unix.PtraceCont(t.TID, int(sig)); err != nil {
		return false, t.Wrap("stop", err)
	}
	if err := t.awaitEventStop(0); err != nil {
		return false, err
	}
	return t.GroupStop == sig, nil
}

// awaitSIGSTOP sends the thread, which stands in an event stop, SIGSTOP and waits
// until it is about to get it. Somebody's SIGCONT takes that away, and brings the
// thread to another event stop.
func (t *Tracee) awaitSIGSTOP() error {
	for {
		if err := unix.Tgkill(t.PID, t.TID, unix.SIGSTOP); err != nil {
			return t.Wrap("stop", err)
		}
		if err := unix.PtraceCont(t.TID, 0); err != nil {
			return t.Wrap("stop", err)
		}
		s, err := t.Wait(0)
		switch {
		case err != nil:
			return err
		case s.Event == unix.PTRACE_EVENT_STOP:
			continue
		case s.Syscall || s.Event != 0 || s.Sig != unix.SIGSTOP:
			return t.Wrap("stop", fmt.Errorf("it got signal %v (event %d) instead", s.Sig, s.Event))
		}
		return nil
	}
}

package tracee

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// ErrDead: the task ended or was killed while it was held.
var ErrDead = errors.New("it ended while it was held")

// ErrTimeout: the task did not stop in time.
var ErrTimeout = errors.New("it does not stop")

// TargetError names the thread and what was attempted.
type TargetError struct {
	TID int
	Op  string
	Err error
}

func (e *TargetError) Error() string { return fmt.Sprintf("pid %d: %s: %v", e.TID, e.Op, e.Err) }
func (e *TargetError) Unwrap() error { return e.Err }

// Tracee is one thread that we trace.
type Tracee struct {
	PID int // thread group
	TID int
	// GroupStop is the signal that has stopped the process, 0 if it is not stopped.
	GroupStop unix.Signal
	group     *Group // nil for a puppet
	dead      bool
	sameCPU   bool   // tied to our CPU: it can't stop while we wait for it without sleeping
	inStop    bool   // stopped inside the kernel's signal code, not at a system call
	confined  bool   // by seccomp, which is suspended
	wchan     string // see RecallWait
	recalled  bool
}

// Dead reports whether the thread has ended, or was let go.
func (t *Tracee) Dead() bool { return t.dead }

// Wrap says of an error what was attempted with the thread.
func (t *Tracee) Wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.ESRCH) {
		err = ErrDead
	}
	return &TargetError{TID: t.TID, Op: op, Err: err}
}

// interrupt asks a seized thread to stop and waits for it.
func (t *Tracee) interrupt(timeout time.Duration) error {
	if err := unix.PtraceInterrupt(t.TID); err == unix.ESRCH {
		return t.Wrap("interrupt", t.vanished())
	} else if err != nil {
		return t.Wrap("interrupt", err)
	}
	return t.awaitEventStop(timeout)
}

// stopAgain stops a thread that was let run for a moment. It may have stopped already,
// because of an earlier request: if it were asked again in that stop, it would stop once
// more as soon as it is let run, and so each time without having run.
func (t *Tracee) StopAgain(timeout time.Duration) error {
	var ws unix.WaitStatus
	n, err := unix.Wait4(t.TID, &ws, unix.WNOHANG|unix.WALL, nil)
	if err != nil || n != t.TID {
		return t.interrupt(timeout) // returns the error, if any
	}
	s, err := t.classify(ws)
	if err != nil {
		return err
	}
	if s.Event == unix.PTRACE_EVENT_STOP {
		t.inStop, t.GroupStop = true, s.group()
		return nil
	}
	if err := unix.PtraceInterrupt(t.TID); err != nil {
		return t.Wrap("interrupt", err)
	}
	if err := unix.PtraceCont(t.TID, int(given(ws))); err != nil {
		return t.Wrap("continue", err)
	}
	return t.awaitEventStop(timeout)
}

// awaitEventStop waits for a PTRACE_EVENT_STOP. If a signal is just being delivered, that
// stop comes first, and the signal is passed on.
func (t *Tracee) awaitEventStop(timeout time.Duration) error {
	for {
		s, err := t.Wait(timeout)
		if err != nil {
			return err
		}
		if s.Event == unix.PTRACE_EVENT_STOP {
			t.inStop = true
			t.GroupStop = s.group()
			return nil
		}
		// A signal-delivery-stop: deliver the signal. Any stop uses up a
		// PTRACE_INTERRUPT; after another one the thread stops before the handler's
		// first instruction.
		sig := s.Sig
		if s.Syscall || s.Event != 0 {
			sig = 0
		}
		if err := unix.PtraceInterrupt(t.TID); err != nil {
			return t.Wrap("interrupt", err)
		}
		if err := unix.PtraceCont(t.TID, int(sig)); err != nil {
			return t.Wrap("continue", err)
		}
	}
}

// Stop is what wait4(2) reports about a stopped tracee.
type Stop struct {
	Sig     unix.Signal
	Event   int // PTRACE_EVENT_…, 0 for none
	Syscall bool
}

// group returns, for a PTRACE_EVENT_STOP, the signal that has stopped the process, or 0.
func (s Stop) group() unix.Signal {
	if s.Sig == unix.SIGTRAP {
		return 0
	}
	return s.Sig
}

// spins is how often wait polls before it sleeps: most stops are a few µs away, and sleeping
// and being woken costs a multiple of that.
const spins = 100

// Wait waits for the next stop; with timeout 0 for ever.
func (t *Tracee) Wait(timeout time.Duration) (Stop, error) {
	if t.sameCPU {
		return t.wait(timeout, 0)
	}
	return t.wait(timeout, spins)
}

// wait is Wait that polls so often at first.
func (t *Tracee) wait(timeout time.Duration, awake int) (Stop, error) {
	var ws unix.WaitStatus
	begin := time.Now()
	for round, reaped := 0, begin; ; round++ {
		flags := unix.WALL
		if timeout > 0 || round < awake {
			flags |= unix.WNOHANG
		}
		n, err := unix.Wait4(t.TID, &ws, flags, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			t.dead = true
			return Stop{}, t.Wrap("wait", t.vanished())
		case n == t.TID:
			return t.classify(ws)
		}
		if round < awake {
			continue
		}
		if timeout > 0 && time.Since(begin) > timeout {
			return Stop{}, t.Wrap("stop", ErrTimeout)
		}
		if timeout > 0 {
			time.Sleep(50 * time.Microsecond)
		}
		if t.group != nil && timeout > 0 && time.Since(reaped) > reapEach {
			t.group.reap(t.PID, t.TID) // the process may be in execve, which waits for that
			reaped = time.Now()
			if t.TID == t.PID && endedFirst(t.PID) {
				t.dead = true
				return Stop{}, t.Wrap("stop", ErrDead)
			}
		}
	}
}

// endedFirst reports whether the first thread of a process has ended while others go on.
// The kernel reports its end only with that of the process, and until then it remains the
// tracee of whoever has attached to it.
func endedFirst(pid int) bool {
	stat, err := proc.ReadThreadStat(pid, pid)
	return err == nil && stat.State == 'Z' && stat.NumThreads > 1
}

// vanished returns why a thread is gone although its end was not reported: when another
// thread calls execve(2), that one takes the id of the first thread.
func (t *Tracee) vanished() error {
	if t.group == nil {
		return ErrDead
	}
	return ErrChanged
}

func (t *Tracee) classify(ws unix.WaitStatus) (Stop, error) {
	if !ws.Stopped() {
		t.dead = true
		return Stop{}, t.Wrap("wait", ErrDead)
	}
	s := Stop{Sig: ws.StopSignal(), Event: int(ws) >> 16}
	if s.Event == 0 && s.Sig == unix.SIGTRAP|0x80 {
		s.Syscall, s.Sig = true, unix.SIGTRAP
	}
	return s, nil
}

// Detach lets the thread run, or, with SIGSTOP, leaves it stopped without us.
func (t *Tracee) Detach(sig unix.Signal) error {
	if t.dead {
		return nil
	}
	t.dead = true
	return t.Wrap("let go", detach(t.TID, sig))
}

// SignalMask returns the blocked signals, with bit 0 for signal 1. Inside sigsuspend(2) and
// the like it is the mask that will be in force afterwards.
func (t *Tracee) SignalMask() (uint64, error) {
	m, err := getSigmask(t.TID)
	return m, t.Wrap("read the signal mask", err)
}

// SetSignalMask sets the blocked signals.
func (t *Tracee) SetSignalMask(mask uint64) error {
	return t.Wrap("set the signal mask", setSigmask(t.TID, mask))
}

// PendingSignals returns the queued siginfo_t of the thread, or, with shared, those of its
// process, in the order of the queue.
func (t *Tracee) PendingSignals(shared bool) ([][]byte, error) {
	var all [][]byte
	for {
		infos, err := peekSiginfo(t.TID, uint64(len(all)), shared)
		if err != nil {
			return nil, t.Wrap("read pending signals", err)
		}
		if len(infos) == 0 {
			return all, nil
		}
		all = append(all, infos...)
	}
}

// RseqConfiguration returns the thread's rseq(2) registration.
func (t *Tracee) RseqConfiguration() (Rseq, error) {
	r, err := rseqConfiguration(t.TID)
	return r, t.Wrap("read the rseq registration", err)
}

// UsesSyscallDispatch reports whether syscall user dispatch is on, see
// PR_SET_SYSCALL_USER_DISPATCH in prctl(2).
func (t *Tracee) UsesSyscallDispatch() bool {
	d, err := getUserDispatch(t.TID)
	return err == nil && d.mode != 0
}

package tracee

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Born is a task that was born as our tracee, and waits for the stop that it begins
// with. near: it is tied to the CPU of this thread.
func Born(pid, tid int, sameCPU bool) (*Tracee, error) {
	t := &Tracee{PID: pid, TID: tid, sameCPU: sameCPU}
	_, err := t.Wait(0)
	return t, err
}

// Near reports whether the task is tied to the CPU of its tracer.
func (t *Tracee) SameCPU() bool { return t.sameCPU }

// Reseize changes a task from PTRACE_TRACEME to PTRACE_SEIZE, which its children inherit:
// only a seized task can be stopped without side effects. In between, SIGSTOP keeps it
// stopped.
func (t *Tracee) Reseize(options uintptr) error {
	if err := detach(t.TID, unix.SIGSTOP); err != nil {
		return t.Wrap("stop", err)
	}
	if err := seize(t.TID, options); err != nil {
		return t.Wrap("attach", err)
	}
	return t.interrupt(0)
}

// LetGo ends PTRACE_O_EXITKILL, by which the task dies with us. It stays stopped until
// Detach, or until we end, when the kernel lets it run.
func (t *Tracee) LetGo() error {
	return t.Wrap("let go", unix.PtraceSetOptions(t.TID, 0))
}

// Kill kills the thread's process and reaps the thread. The first thread of a process can
// be reaped only after all others.
func (t *Tracee) Kill() error {
	if t.dead {
		return nil
	}
	if err := unix.Kill(t.PID, unix.SIGKILL); err != nil && err != unix.ESRCH {
		return t.Wrap("kill", err)
	}
	return t.AwaitEnd()
}

// AwaitEnd waits until the thread has ended and reaps it as its tracer. It leaves the CPU
// to those that end.
func (t *Tracee) AwaitEnd() error {
	for !t.dead {
		if _, err := t.wait(0, 0); err != nil && !t.dead {
			return err
		}
	}
	return nil
}

// End resumes the thread, which is about to end, and reaps it.
func (t *Tracee) End(sig unix.Signal) error {
	for range 64 {
		if err := unix.PtraceCont(t.TID, int(sig)); err != nil && err != unix.ESRCH {
			return t.Wrap("end", err)
		}
		s, err := t.Wait(0)
		if t.dead {
			return nil
		}
		if err != nil {
			return err
		}
		sig = 0
		if s.Event == 0 && !s.Syscall {
			sig = s.Sig
		}
	}
	return t.Wrap("end", errors.New("it does not end"))
}

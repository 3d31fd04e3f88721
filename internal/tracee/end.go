package tracee

import (
	"errors"
	"time"

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

// EndFirst resumes the thread, the first of its process and about to call exit(2), and ends
// tracing it on the way: a tracer could do so no more with one that has ended, and would
// have to wait for it before its parent can. It returns when the thread has ended, with this
// signal mask.
func (t *Tracee) EndFirst(mask uint64) error {
	// Without PTRACE_O_EXITKILL, which would be in force until then.
	options := unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACEEXIT
	if unix.PtraceSetOptions(t.TID, options|OptionSuspendSeccomp) != nil { // takes CAP_SYS_ADMIN, without which there is no filter
		if err := unix.PtraceSetOptions(t.TID, options); err != nil {
			return t.Wrap("end", err)
		}
	}
	for sig, left := 0, 64; ; left-- {
		if left == 0 {
			return t.Wrap("end", errNoEnd)
		}
		if err := unix.PtraceCont(t.TID, sig); err != nil {
			return t.Wrap("end", err)
		}
		s, err := t.Wait(0)
		if err != nil {
			return err
		}
		if s.Event == unix.PTRACE_EVENT_EXIT {
			break
		}
		sig = 0
		if s.Event == 0 && !s.Syscall {
			sig = int(s.Sig)
		}
	}
	if err := t.SetSignalMask(mask); err != nil { // from here on it takes no signal
		return err
	}
	t.dead = true
	if err := detach(t.TID, 0); err != nil {
		return t.Wrap("end", err)
	}
	for begin := time.Now(); !endedFirst(t.PID); time.Sleep(50 * time.Microsecond) {
		if time.Since(begin) > ending {
			return t.Wrap("end", errNoEnd)
		}
	}
	return nil
}

// ending is how long a thread that is in exit(2) may take.
const ending = 10 * time.Second

var errNoEnd = errors.New("it does not end")

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
	return t.Wrap("end", errNoEnd)
}

// Adopt takes over a task that nobody traces and that waits in a system call. It dies with
// us if the options say so.
func Adopt(pid int, options uintptr, sameCPU bool) (*Tracee, error) {
	t := &Tracee{PID: pid, TID: pid, sameCPU: sameCPU}
	if err := seize(pid, options); err != nil {
		return nil, t.Wrap("attach", err)
	}
	return t, t.interrupt(0)
}

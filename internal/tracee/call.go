package tracee

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxErrno is MAX_ERRNO: a system call that fails returns an error number up to this,
// negated.
const maxErrno = 4095

// Caller makes system calls in another task.
type Caller interface {
	// Call makes a system call and returns its result, or its errno as the
	// error.
	Call(nr uintptr, args ...uint64) (uint64, error)
	// Scratch is memory of the task for arguments and results.
	Scratch() Range
	// Tracee is the thread the calls are made in.
	Tracee() *Tracee
}

// ErrTight: something takes more memory than a loan has where limits are tight.
var ErrTight = errors.New("its limits (RLIMIT_AS and the like) leave no room for the memory that this takes")

// CallAt makes one system call, with the `syscall` instruction at ip, and with the
// registers of base except for those that the call needs. Afterwards the thread is at the
// call's exit.
func (t *Tracee) CallAt(base *Regs, ip uint64, nr uintptr, args []uint64) (uint64, error) {
	if len(args) > 6 {
		return 0, unix.EINVAL
	}
	regs := *base
	regs.SetCall(ip, nr, args)
	if err := t.SetRegs(&regs); err != nil {
		return 0, err
	}
	t.inStop = false
	for range 2 { // entry, exit
		if err := t.toSyscallStop(); err != nil {
			return 0, err
		}
	}
	if err := t.ReadRegs(&regs); err != nil {
		return 0, err
	}
	return Result(regs.result())
}

// result splits what a system call returned into result and error.
func Result(ret int64) (uint64, error) {
	if ret > -maxErrno-1 && ret < 0 {
		return uint64(ret), unix.Errno(-ret)
	}
	return uint64(ret), nil
}

// toSyscallStop runs the thread to its next system call stop.
func (t *Tracee) toSyscallStop() error {
	sig := 0
	for {
		if err := unix.PtraceSyscall(t.TID, sig); err != nil {
			return t.Wrap("run to a system call", err)
		}
		s, err := t.Wait(0)
		if err != nil {
			return err
		}
		switch {
		case s.Syscall:
			return nil
		case s.Event == unix.PTRACE_EVENT_STOP:
			// Somebody stops the process: the kernel remembers that, and it takes
			// effect when we let go.
			sig = 0
		case s.Event != 0: // PTRACE_EVENT_CLONE and the like: the child is waited for elsewhere
			sig = 0
		case s.Sig == unix.SIGSTOP:
			sig = int(unix.SIGSTOP)
		default:
			return t.Wrap("make a system call", fmt.Errorf("it got signal %v instead", s.Sig))
		}
	}
}

// CallOK is Call for callers that only want to know whether it worked. Its error says
// what was to be done.
func CallOK(c Caller, what string, nr uintptr, args ...uint64) error {
	if _, err := c.Call(nr, args...); err != nil {
		return c.Tracee().Wrap(what, err)
	}
	return nil
}

// Errno returns the errno inside err, or 0.
func Errno(err error) unix.Errno {
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return 0
}

// Run has the thread run with registers until stopped says that it stands where it is
// to, and reads them again. stopped is asked at each stop, of which regs are read, and
// returns the signal that the thread goes on with.
func (t *Tracee) Run(regs *Regs, stopped func(s Stop) (sig unix.Signal, done bool, err error)) error {
	if err := t.SetRegs(regs); err != nil {
		return err
	}
	t.inStop = false
	for sig := unix.Signal(0); ; {
		if err := unix.PtraceCont(t.TID, int(sig)); err != nil {
			return t.Wrap("run to the end of its calls", err)
		}
		s, err := t.Wait(0)
		if err != nil {
			return err
		}
		if err := t.ReadRegs(regs); err != nil {
			return err
		}
		var done bool
		if sig, done, err = stopped(s); done || err != nil {
			return err
		}
	}
}

// StandsInSignal notes that the thread stands where it would get a signal, in the
// kernel's signal code: it need not be brought there to go on as if nothing had been.
func (t *Tracee) StandsInSignal() { t.inStop = true }

// InterruptFromCall brings the thread from a system call stop to an event stop, without
// running an instruction.
func (t *Tracee) InterruptFromCall() error {
	if t.inStop {
		return nil
	}
	if err := unix.PtraceInterrupt(t.TID); err != nil {
		return t.Wrap("interrupt", err)
	}
	if err := unix.PtraceCont(t.TID, 0); err != nil {
		return t.Wrap("interrupt", err)
	}
	return t.awaitEventStop(0)
}

package tracee

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxErrno is the largest error number a system call returns negated.
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

// callAt makes one system call with the `syscall` instruction at ip and
// registers that are base but for what the call needs. The thread stands at
// the call's exit afterwards.
func (t *Tracee) callAt(base *Regs, ip uint64, nr uintptr, args []uint64) (uint64, error) {
	if len(args) > 6 {
		return 0, unix.EINVAL
	}
	regs := *base
	regs.setCall(ip, nr, args)
	if err := t.SetRegs(&regs); err != nil {
		return 0, err
	}
	t.inStop = false
	for range 2 { // entry, exit
		if err := t.toSyscallStop(); err != nil {
			return 0, err
		}
	}
	if err := t.getRegs(&regs); err != nil {
		return 0, err
	}
	return result(regs.result())
}

// result tells what a system call has returned.
func result(ret int64) (uint64, error) {
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
			return t.wrap("run to a system call", err)
		}
		s, err := t.wait(0)
		if err != nil {
			return err
		}
		switch {
		case s.syscall:
			return nil
		case s.event == unix.PTRACE_EVENT_STOP:
			// Somebody stops the process: it stays noted in the kernel and
			// takes effect when we let go.
			sig = 0
		case s.event != 0: // PTRACE_EVENT_CLONE and its like: the child is waited for apart
			sig = 0
		case s.sig == unix.SIGSTOP:
			sig = int(unix.SIGSTOP)
		default:
			return t.wrap("make a system call", fmt.Errorf("it got signal %v instead", s.sig))
		}
	}
}

// CallOK is Call for callers that only want to know whether it worked, with an
// error that says what was to be done.
func CallOK(c Caller, what string, nr uintptr, args ...uint64) error {
	if _, err := c.Call(nr, args...); err != nil {
		return c.Tracee().wrap(what, err)
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

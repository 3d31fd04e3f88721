package puppet

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/tracee"
)

// Call makes a system call in the puppet.
func (p *Puppet) Call(nr uintptr, args ...uint64) (uint64, error) {
	if !p.vectors() {
		return p.t.CallAt(&p.base, p.insn, nr, args)
	}
	if len(args) > 6 {
		return 0, unix.EINVAL
	}
	regs := p.base
	regs.SetCall(p.code, nr, args)
	if err := p.runToEnd(&regs); err != nil {
		return 0, err
	}
	return tracee.Result(regs.LastResult())
}

// vectors reports whether the puppet can stop itself, see VectorCode.
func (p *Puppet) vectors() bool { return p.code != 0 && !*p.singly }

// Singly makes all threads of the puppet's process make their calls one by one, each with
// two stops: a SIGCONT is pending, which must not be lost, see runToEnd.
func (p *Puppet) Singly() { *p.singly = true }

// calls is the address of a vector's array.
func (p *Puppet) calls() uint64 { return p.code + codeBytes }

// runVector makes the calls of an array, and returns how many succeeded before the first
// that failed.
func (p *Puppet) runVector(first uint64, n int) (made int, err error) {
	regs := p.base
	regs.SetVector(p.code, first, first+uint64(n*tracee.EntryBytes))
	err = p.runToEnd(&regs)
	return int(regs.NextEntry()-first) / tracee.EntryBytes, err
}

// runToEnd runs the puppet's code with these registers until the puppet stops itself, and
// reads them again. It stops itself with SIGSTOP, which can't be blocked, and which is not
// delivered, because we don't pass it on. With system call stops there would be one at
// each call, not only at the end; a breakpoint would reset the program's action for
// SIGTRAP. But SIGSTOP removes a pending SIGCONT.
func (p *Puppet) runToEnd(regs *tracee.Regs) error {
	t := p.t
	regs.SetSelf(t.PID, t.TID)
	return t.Run(regs, func(s tracee.Stop) (sig unix.Signal, done bool, err error) {
		switch {
		case s.Event == unix.PTRACE_EVENT_STOP: // somebody stops the process: it will be when it is let go
			return 0, false, nil
		case s.Event != 0 || s.Syscall || s.Sig != unix.SIGSTOP:
			return 0, false, t.Wrap("make system calls", fmt.Errorf("it got signal %v (event %d) at %#x instead", s.Sig, s.Event, regs.IP()))
		case regs.IP() == p.code+uint64(tracee.VectorEnd) && tracee.SentByItself(t.PID, t.TID):
			return 0, true, nil
		}
		return unix.SIGSTOP, false, nil // sent by somebody else
	})
}

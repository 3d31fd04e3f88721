package tracee

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Call makes a system call in the puppet.
func (p *Puppet) Call(nr uintptr, args ...uint64) (uint64, error) {
	if !p.vectors() {
		return p.t.callAt(&p.base, p.insn, nr, args)
	}
	if len(args) > 6 {
		return 0, unix.EINVAL
	}
	regs := p.base
	regs.setCall(p.code, nr, args)
	if err := p.runToEnd(&regs); err != nil {
		return 0, err
	}
	return result(regs.lastResult())
}

// vectors reports whether the puppet can stop itself, see vectorCode.
func (p *Puppet) vectors() bool { return p.code != 0 && !*p.singly }

// Singly has all threads of the puppet's process make their calls one by one, each
// with two stops: a SIGCONT waits, which must not be lost, see runToEnd.
func (p *Puppet) Singly() { *p.singly = true }

// calls is where the array of a vector stands.
func (p *Puppet) calls() uint64 { return p.code + codeBytes }

// runVector makes the calls of an array and returns how many of them succeeded
// until the first that failed.
func (p *Puppet) runVector(first uint64, n int) (made int, err error) {
	regs := p.base
	regs.setVector(p.code, first, first+uint64(n*entryBytes))
	err = p.runToEnd(&regs)
	return int(regs.nextEntry()-first) / entryBytes, err
}

// runToEnd runs the puppet's code with registers that begin it until the puppet
// stops itself, and reads them again. It does that with SIGSTOP, which alone nothing
// blocks and which is not delivered, for we don't let it pass. A system call stop at
// the end would take one at each call; a breakpoint would reset the program's action
// for SIGTRAP. But SIGSTOP takes away a SIGCONT that waits.
func (p *Puppet) runToEnd(regs *Regs) error {
	t := p.t
	regs.setSelf(t.PID, t.TID)
	if err := t.SetRegs(regs); err != nil {
		return err
	}
	t.inStop = false
	for sig := 0; ; {
		if err := unix.PtraceCont(t.TID, sig); err != nil {
			return t.wrap("run to the end of its calls", err)
		}
		s, err := t.wait(0)
		if err != nil {
			return err
		}
		if err := t.getRegs(regs); err != nil {
			return err
		}
		sig = 0
		switch {
		case s.event == unix.PTRACE_EVENT_STOP: // as in toSyscallStop
		case s.event != 0 || s.syscall || s.sig != unix.SIGSTOP:
			return t.wrap("make system calls", fmt.Errorf("it got signal %v (event %d) at %#x instead", s.sig, s.event, regs.IP()))
		case regs.IP() == p.code+uint64(vectorEnd) && sentByItself(t.PID, t.TID):
			return nil
		default: // somebody else's
			sig = int(unix.SIGSTOP)
		}
	}
}

package puppet

import (
	"errors"

	"golang.org/x/sys/unix"

	"ckpt/internal/tracee"
)

// StartFirst starts this very program as the first process of a new pid namespace, with new
// namespaces of other kinds (CLONE_NEWUTS and the like), too, and returns its id here. It
// runs no instruction but the one with which it waits for a process inside of the namespace
// that makes a puppet of it by Adopt. It is a child of ours and killed when the calling
// thread, which must be locked, ends.
func StartFirst(kinds uint64) (pid int, err error) {
	stub, err := StartStub(false)
	if err != nil {
		return 0, err
	}
	p, err := stub.cloneFirst(kinds)
	if err == nil {
		err = p.waitAlone()
	}
	if p != nil && err != nil {
		err = errors.Join(err, p.t.Kill())
	}
	if err := errors.Join(err, stub.t.Kill()); err != nil {
		return 0, err
	}
	return p.t.PID, nil
}

// cloneFirst makes the process.
func (p *Puppet) cloneFirst(kinds uint64) (*Puppet, error) {
	const flags = unix.CLONE_NEWPID | unix.CLONE_PARENT | unix.CLONE_PTRACE
	// As clone(2), which needs no memory: this puppet has none of its own yet.
	pid, err := p.Call(unix.SYS_CLONE, flags|kinds, 0, 0, 0, 0)
	if err != nil {
		return nil, p.t.Wrap("make the init of a pid namespace", err)
	}
	return p.born(int(pid), int(pid), 0)
}

// waitAlone lets the puppet go into a wait without end, in which only the end of its parent
// ends it.
func (p *Puppet) waitAlone() error {
	if err := tracee.CallOK(p, "die with ckpt-apply", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uint64(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	if err := p.t.SetSignalMask(^uint64(0)); err != nil {
		return err
	}
	if err := p.t.InterruptFromCall(); err != nil {
		return err
	}
	regs := p.base
	regs.SetCall(p.insn, unix.SYS_PPOLL, nil)
	if err := p.t.SetRegs(&regs); err != nil {
		return err
	}
	return p.t.Detach(0)
}

// Adopt makes a puppet of the first process of this pid namespace, see StartFirst.
func Adopt(pid int, sameCPU bool) (*Puppet, error) {
	t, err := tracee.Adopt(pid, puppetOptions, sameCPU)
	if err == nil && sameCPU {
		err = shareCPU(pid)
	}
	if err != nil {
		return nil, err
	}
	p := newPuppet(t)
	return p, p.begin()
}

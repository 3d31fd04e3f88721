package puppet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"ckpt/internal/tracee"
)

// StartInside starts this very program again, with these arguments and environment, in the
// namespaces of these kinds (CLONE_NEWPID and the like) in which the process or thread of a
// pidfd is. It has our descriptors but for those to be closed on exec, is a child of ours and is killed
// when the calling thread, which must be locked, ends.
//
// Nobody in there but who has CAP_SYS_PTRACE may trace it: it is not dumpable from its first
// moment there, because it is born in there and has called execve(2), which would make it
// dumpable, before.
func StartInside(pidfd int, kinds int, args, env []string) (pid int, err error) {
	fd, err := unix.FcntlInt(uintptr(pidfd), unix.F_DUPFD, 3) // not closed on exec
	if err != nil {
		return 0, os.NewSyscallError("fcntl", err)
	}
	stub, err := start(args, env, false, []uintptr{0, 1, 2})
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return 0, err
	}
	p, err := stub.cloneInside(uint64(fd), kinds, filepath.Base(args[0]))
	if err == nil {
		err = p.begins()
	}
	if p != nil && err != nil {
		err = errors.Join(err, p.t.Kill())
	}
	if err := errors.Join(err, stub.t.Kill()); err != nil {
		return 0, fmt.Errorf("start this program again inside of a pid namespace: %w", err)
	}
	return p.t.PID, nil
}

// cloneInside enters the namespaces that a pidfd of the stub's leads to, and makes another
// stub in there.
func (p *Puppet) cloneInside(pidfd uint64, kinds int, name string) (*Puppet, error) {
	if _, err := p.Call(unix.SYS_SETNS, pidfd, uint64(kinds)); err != nil {
		return nil, fmt.Errorf("enter its namespaces: %w", os.NewSyscallError("setns", err))
	}
	if err := tracee.CallOK(p, "close", unix.SYS_CLOSE, pidfd); err != nil {
		return nil, err
	}
	const below = 256 // the stack, where nothing is yet
	at := p.base.SP() - below
	if err := p.t.WriteMem(at, append([]byte(name), 0)); err != nil {
		return nil, err
	}
	// Now, so that all its threads have it.
	if err := tracee.CallOK(p, "set its name", unix.SYS_PRCTL, unix.PR_SET_NAME, at, 0, 0, 0); err != nil {
		return nil, err
	}
	if err := tracee.CallOK(p, "not be dumpable", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, err
	}
	pid, err := p.Call(unix.SYS_CLONE, unix.CLONE_PARENT|unix.CLONE_PTRACE, 0, 0, 0, 0)
	if err != nil {
		return nil, p.t.Wrap("make a process in a pid namespace", err)
	}
	return p.born(int(pid), int(pid), 0)
}

// begins lets the puppet run as the program that it is, from the first instruction on.
func (p *Puppet) begins() error {
	if err := tracee.CallOK(p, "die with its parent", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uint64(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	if err := p.t.InterruptFromCall(); err != nil {
		return err
	}
	if err := p.t.SetRegs(&p.base); err != nil {
		return err
	}
	return p.t.Detach(0)
}

// DieWithParent makes the kernel kill this process when the thread that started it ends. The
// calling thread must not end before.
func DieWithParent() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0))
}

// StartSibling starts this very program again as another child of the process that started
// this one. It has our descriptors but for those to be closed on exec.
func StartSibling(args, env []string) error {
	_, _, err := syscall.StartProcess("/proc/self/exe", args, &syscall.ProcAttr{
		Env: env, Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT},
	})
	if err != nil {
		return fmt.Errorf("start this program again: %w", err)
	}
	return nil
}

package tracee

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

const (
	codeBytes          = pageBytes
	puppetScratchBytes = 64 * pageBytes
	// PuppetBytes is how much room a puppet's own pages take.
	PuppetBytes = codeBytes + puppetScratchBytes

	puppetOptions = unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACESYSGOOD |
		unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACECLONE
)

// Puppet is a task of ours that has run nothing of its own. It dies with us.
type Puppet struct {
	t    *Tracee
	base Regs
	code uint64 // a page with a `syscall` instruction; scratch memory follows
	insn uint64
	us   int // its descriptor of our process, -1 before it has one
}

// StartStub starts this very program again, stopped before its first
// instruction. The calling goroutine must be locked to its OS thread.
func StartStub() (*Puppet, error) {
	p, err := os.StartProcess("/proc/self/exe", []string{"ckpt-stub"}, &os.ProcAttr{
		Env: []string{},
		Sys: &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return nil, fmt.Errorf("start a process to restore in: %w", err)
	}
	t := &Tracee{PID: p.Pid, TID: p.Pid}
	_ = p.Release()
	if _, err := t.wait(0); err != nil {
		return nil, err
	}
	if err := unix.PtraceSetOptions(t.TID, puppetOptions); err != nil {
		return nil, errors.Join(t.wrap("set ptrace options", err), t.Kill())
	}
	s := &Puppet{t: t, us: -1}
	if err := s.begin(); err != nil {
		return nil, errors.Join(err, t.Kill())
	}
	return s, nil
}

// begin finds a `syscall` instruction in the stub's vdso.
func (p *Puppet) begin() error {
	if err := p.t.getRegs(&p.base); err != nil {
		return err
	}
	maps, err := proc.ReadMaps(p.t.PID)
	if err != nil {
		return err
	}
	for _, m := range maps {
		if m.Name() != "[vdso]" {
			continue
		}
		text := make([]byte, m.End-m.Start)
		if err := p.t.ReadMem(m.Start, text); err != nil {
			return err
		}
		if i := bytes.Index(text, syscallInsn); i >= 0 && len(syscallInsn) > 0 {
			p.insn = m.Start + uint64(i)
			return nil
		}
	}
	return p.t.wrap("find a syscall instruction", errors.New("there is none in its vdso"))
}

// Settle maps the puppet's own pages at addr, PuppetBytes of them, where
// nothing is mapped.
func (p *Puppet) Settle(addr uint64) error {
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED_NOREPLACE
	if err := CallOK(p, "map a page for system calls", unix.SYS_MMAP, addr, codeBytes, unix.PROT_READ|unix.PROT_EXEC, flags, ^uint64(0), 0); err != nil {
		return err
	}
	if err := CallOK(p, "map scratch memory", unix.SYS_MMAP, addr+codeBytes, puppetScratchBytes, unix.PROT_READ|unix.PROT_WRITE, flags, ^uint64(0), 0); err != nil {
		return err
	}
	if err := p.t.poke(addr, append(bytes.Clone(syscallInsn), 0xcc)); err != nil {
		return err
	}
	p.code, p.insn = addr, addr
	return nil
}

// Own is the range of the puppet's own pages.
func (p *Puppet) Own() Range { return Range{p.code, PuppetBytes} }

// Call makes a system call in the puppet.
func (p *Puppet) Call(nr uintptr, args ...uint64) (uint64, error) {
	return p.t.callAt(&p.base, p.insn, nr, args)
}

// Scratch is memory of the puppet for arguments and results.
func (p *Puppet) Scratch() Range { return Range{p.code + codeBytes, puppetScratchBytes} }

// Tracee is the puppet's thread.
func (p *Puppet) Tracee() *Tracee { return p.t }

// Clone makes a child with clone3(2) that has process id pid and the given
// CLONE_ flags, stopped before its first instruction.
func (p *Puppet) Clone(pid int, flags uint64, exitSignal unix.Signal) (*Puppet, error) {
	at := p.Scratch().Addr
	args := make([]byte, 0, 96) // struct clone_args, uapi linux/sched.h
	for _, v := range []uint64{flags, 0, 0, 0, uint64(exitSignal), 0, 0, 0, at + 88, 1, 0} {
		args = binary.LittleEndian.AppendUint64(args, v)
	}
	args = binary.LittleEndian.AppendUint64(args, uint64(pid))
	if err := p.t.WriteMem(at, args); err != nil {
		return nil, err
	}
	n, err := p.Call(unix.SYS_CLONE3, at, 88)
	if err != nil {
		return nil, p.t.wrap(fmt.Sprintf("make process %d", pid), err)
	}
	c := &Tracee{PID: int(n), TID: int(n)}
	if _, err := c.wait(0); err != nil { // the SIGSTOP every auto-attached child begins with
		return nil, err
	}
	child := &Puppet{t: c, code: p.code, insn: p.insn, us: -1}
	return child, c.getRegs(&child.base)
}

// CloseAll closes every descriptor the puppet has.
func (p *Puppet) CloseAll() error {
	p.us = -1
	return CallOK(p, "close its descriptors", unix.SYS_CLOSE_RANGE, 0, 1<<32-1, 0)
}

// Give copies our descriptor fd into the puppet, which fetches it with
// pidfd_getfd(2), and returns its number there, the lowest free.
func (p *Puppet) Give(fd int) (int, error) {
	if p.us < 0 {
		if err := p.Reserve(0); err != nil {
			return -1, err
		}
	}
	n, err := p.Call(unix.SYS_PIDFD_GETFD, uint64(p.us), uint64(fd), 0)
	if err != nil {
		return -1, p.t.wrap("fetch a descriptor", err)
	}
	return int(n), nil
}

// Reserve keeps the descriptors below n free of the one Give needs for itself.
func (p *Puppet) Reserve(n int) error {
	us, err := p.Call(unix.SYS_PIDFD_OPEN, uint64(os.Getpid()), 0)
	if err != nil {
		return p.t.wrap("open its restorer", err)
	}
	high, err := p.Call(unix.SYS_FCNTL, us, unix.F_DUPFD_CLOEXEC, uint64(n))
	if err != nil {
		return p.t.wrap(fmt.Sprintf("reserve a descriptor above %d", n), err)
	}
	old := p.us
	p.us = int(high)
	for _, fd := range []int{int(us), old} {
		if fd >= 0 {
			if err := CallOK(p, "close", unix.SYS_CLOSE, uint64(fd)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Kill ends the task and reaps it.
func (t *Tracee) Kill() error {
	if t.dead {
		return nil
	}
	if err := unix.Kill(t.PID, unix.SIGKILL); err != nil && err != unix.ESRCH {
		return t.wrap("kill", err)
	}
	for !t.dead {
		if _, err := t.wait(0); err != nil && !t.dead {
			return err
		}
	}
	return nil
}

// Release unmaps the puppet's own pages and lets it run with these registers,
// extended registers and signal mask; with stopped it stands still, as after
// SIGSTOP. An interrupted system call is begun again by the kernel.
func (p *Puppet) Release(regs *Regs, xstate []byte, mask uint64, stopped bool) error {
	t := p.t
	if p.us >= 0 {
		if err := CallOK(p, "close", unix.SYS_CLOSE, uint64(p.us)); err != nil {
			return err
		}
	}
	if err := CallOK(p, "unmap scratch memory", unix.SYS_MUNMAP, p.code, PuppetBytes); err != nil {
		return err
	}
	// SIGSTOP, the one signal that can't be blocked, brings the thread into the
	// kernel's signal code before it runs an instruction; there it is dropped.
	if err := unix.Tgkill(t.PID, t.TID, unix.SIGSTOP); err != nil {
		return t.wrap("stop", err)
	}
	if err := unix.PtraceCont(t.TID, 0); err != nil {
		return t.wrap("stop", err)
	}
	s, err := t.wait(0)
	if err != nil {
		return err
	}
	if s.sig != unix.SIGSTOP {
		return t.wrap("stop", fmt.Errorf("it got signal %v instead", s.sig))
	}
	if len(xstate) > 0 {
		if err := t.SetXState(xstate); err != nil {
			return err
		}
	}
	final := *regs
	if final.NeedsRewind() {
		final.Rewind(false)
	}
	if err := t.SetRegs(&final); err != nil {
		return err
	}
	if err := t.SetSignalMask(mask); err != nil {
		return err
	}
	sig := unix.Signal(0)
	if stopped {
		sig = unix.SIGSTOP
	}
	return t.Detach(sig)
}

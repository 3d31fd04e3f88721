package tracee

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/sys"
)

const (
	codeBytes          = pageBytes
	puppetScratchBytes = 64 * pageBytes
	// PuppetBytes is how much room a puppet's own pages take.
	PuppetBytes = codeBytes + vectorBytes + puppetScratchBytes

	puppetOptions = unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACESYSGOOD
)

// Puppet is a task of ours that has run nothing of its own. It dies with us.
type Puppet struct {
	t      *Tracee
	base   Regs
	code   uint64 // a page with vectorCode; a vector's array and scratch memory follow
	insn   uint64
	us     *int  // its table's descriptor of our process, -1 before there is one
	singly *bool // its process makes calls one by one, see Singly
}

// StartStub starts this very program again, stopped before its first
// instruction. The calling goroutine must be locked to its OS thread. With near
// the stub, and so all puppets, run on the CPU that this thread runs on, and it
// stays there: good for many calls, bad for much data, which others prepare on
// that CPU meanwhile.
func StartStub(near bool) (*Puppet, error) { return start("ckpt-stub", near, nil) }

// StartHolder starts this very program as StartStub does, and it has copies of our
// descriptors, whose numbers there it returns. It is good for nothing but to have them.
func StartHolder(fds []int) (p *Puppet, numbers []int, err error) {
	// In ascending order each gets a number that is not above its own, and so none
	// takes the place of one that is still to come.
	order := make([]int, len(fds))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return fds[a] - fds[b] })
	numbers, inherited := make([]int, len(fds)), make([]uintptr, len(fds))
	for n, i := range order {
		numbers[i], inherited[n] = n, uintptr(fds[i])
	}
	p, err = start("ckpt-holder", false, inherited)
	return p, numbers, err
}

// start starts this very program with copies of these descriptors of ours.
func start(name string, near bool, fds []uintptr) (*Puppet, error) {
	pid, _, err := syscall.StartProcess("/proc/self/exe", []string{name}, &syscall.ProcAttr{
		Env: []string{}, Files: fds,
		Sys: &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return nil, fmt.Errorf("start this program again as a stub: %w", err)
	}
	t := &Tracee{PID: pid, TID: pid, near: near}
	if _, err := t.wait(0); err != nil {
		return nil, err
	}
	if near {
		err = shareCPU(t.TID)
	}
	if err := errors.Join(err, t.reseize()); err != nil {
		return nil, errors.Join(err, t.Kill())
	}
	s := &Puppet{t: t, us: new(int), singly: new(bool)}
	*s.us = -1
	if err := s.begin(); err != nil {
		return nil, errors.Join(err, t.Kill())
	}
	return s, nil
}

// shareCPU ties a task and this thread to the CPU this thread runs on: who makes a
// call in another task waits for it anyway, and on one CPU neither has to be woken
// from afar.
func shareCPU(tid int) error {
	cpu, err := sys.CPU()
	if err != nil {
		return err
	}
	var one unix.CPUSet
	one.Set(cpu)
	for _, id := range []int{0, tid} {
		if err := unix.SchedSetaffinity(id, &one); err != nil {
			return os.NewSyscallError("sched_setaffinity", err)
		}
	}
	return nil
}

// reseize changes a task from PTRACE_TRACEME to PTRACE_SEIZE, which its
// children inherit: only such can be brought to a stop that leaves no trace. It
// stands still by SIGSTOP in between.
func (t *Tracee) reseize() error {
	if err := detach(t.TID, unix.SIGSTOP); err != nil {
		return t.wrap("stop", err)
	}
	if err := seize(t.TID, puppetOptions); err != nil {
		return t.wrap("attach", err)
	}
	return t.interrupt(0)
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
	if err := CallOK(p, "map scratch memory", unix.SYS_MMAP, addr+codeBytes, vectorBytes+puppetScratchBytes, unix.PROT_READ|unix.PROT_WRITE, flags, ^uint64(0), 0); err != nil {
		return err
	}
	if err := p.t.poke(addr, vectorCode); err != nil {
		return err
	}
	p.code, p.insn = addr, addr
	return nil
}

// Own is the range of the puppet's own pages.
func (p *Puppet) Own() Range { return Range{p.code, PuppetBytes} }

// Scratch is memory of the puppet for arguments and results.
func (p *Puppet) Scratch() Range {
	return Range{p.code + codeBytes + vectorBytes, puppetScratchBytes}
}

// Tracee is the puppet's thread.
func (p *Puppet) Tracee() *Tracee { return p.t }

// Unshare leaves what the puppet shares by these CLONE_ flags.
func (p *Puppet) Unshare(flags uint64) error {
	if err := CallOK(p, "leave what it shares", unix.SYS_UNSHARE, flags); err != nil {
		return err
	}
	if flags&unix.CLONE_FILES != 0 {
		us := *p.us
		p.us = &us
	}
	return nil
}

// CloseAll closes every descriptor the puppet has.
func (p *Puppet) CloseAll() error {
	*p.us = -1
	return CallOK(p, "close its descriptors", unix.SYS_CLOSE_RANGE, 0, 1<<32-1, 0)
}

// Give copies our descriptor fd into the puppet, which fetches it with
// pidfd_getfd(2), and returns its number there, the lowest free.
func (p *Puppet) Give(fd int) (int, error) {
	if *p.us < 0 {
		if _, err := p.Reserve(0); err != nil {
			return -1, err
		}
	}
	n, err := p.Call(unix.SYS_PIDFD_GETFD, uint64(*p.us), uint64(fd), 0)
	if err != nil {
		return -1, p.t.wrap("fetch a descriptor", err)
	}
	return int(n), nil
}

// Reserve keeps the descriptors below n free of the one Give needs for itself, and
// returns the number of that.
func (p *Puppet) Reserve(n int) (int, error) {
	v := p.Vector()
	us := v.Add("open its restorer", unix.SYS_PIDFD_OPEN, uint64(os.Getpid()), 0)
	high := v.Add(fmt.Sprintf("reserve a descriptor above %d", n), unix.SYS_FCNTL, 0, unix.F_DUPFD_CLOEXEC, uint64(n)).From(0, us)
	v.Add("close", unix.SYS_CLOSE, 0).From(0, us)
	if old := *p.us; old >= 0 {
		v.Add("close", unix.SYS_CLOSE, uint64(old))
	}
	if err := v.Run(); err != nil {
		return -1, err
	}
	*p.us = int(high.result)
	return *p.us, nil
}

// GiveIn is Give in a vector. Our descriptor must stay open until that has run.
func (p *Puppet) GiveIn(v *Vector, fd int) *Later {
	if *p.us < 0 && v.err == nil {
		_, v.err = p.Reserve(0)
	}
	return v.Add("fetch a descriptor", unix.SYS_PIDFD_GETFD, uint64(*p.us), uint64(fd), 0)
}

// Leave unmaps the puppet's own pages. No thread of the address space can make
// a call then.
func (p *Puppet) Leave() error {
	// It can't go on to stop itself, so this call is made with system call stops.
	_, err := p.t.callAt(&p.base, p.insn, unix.SYS_MUNMAP, []uint64{p.code, PuppetBytes})
	return p.t.wrap("unmap scratch memory", err)
}

// ForgetUs closes the puppet's descriptor of our process.
func (p *Puppet) ForgetUs() error {
	us := *p.us
	if us < 0 {
		return nil
	}
	*p.us = -1
	return CallOK(p, "close", unix.SYS_CLOSE, uint64(us))
}

// Prepare gives the thread the registers, extended registers and signal mask it
// is to run with. An interrupted system call is begun again by the kernel, or
// gone on with if Resume was told of it. All that is left to do is LetGo and
// Detach.
func (p *Puppet) Prepare(regs *Regs, xstate []byte, mask uint64, resumed bool) error {
	t := p.t
	if err := t.interruptFromCall(); err != nil {
		return err
	}
	if len(xstate) > 0 {
		if err := t.SetXState(xstate); err != nil {
			return err
		}
	}
	final := *regs
	if !resumed && final.NeedsRewind() {
		final.Rewind(false)
	}
	if err := t.SetRegs(&final); err != nil {
		return err
	}
	return t.SetSignalMask(mask)
}

// LetGo ends the bond by which the task dies with us. It stands still until
// Detach, or until our own end, when the kernel lets it run.
func (t *Tracee) LetGo() error {
	return t.wrap("let go", unix.PtraceSetOptions(t.TID, 0))
}

// Kill ends the process of the thread and reaps the thread. Of a process with
// several, all others must be reaped before its first.
func (t *Tracee) Kill() error {
	if t.dead {
		return nil
	}
	if err := unix.Kill(t.PID, unix.SIGKILL); err != nil && err != unix.ESRCH {
		return t.wrap("kill", err)
	}
	return t.AwaitEnd()
}

// AwaitEnd waits until the thread has ended and reaps it as its tracer.
func (t *Tracee) AwaitEnd() error {
	for !t.dead {
		if _, err := t.wait(0); err != nil && !t.dead {
			return err
		}
	}
	return nil
}

// Exit has the process end with an exit status.
func (p *Puppet) Exit(status int) error {
	regs := p.base
	regs.setCall(p.insn, unix.SYS_EXIT_GROUP, []uint64{uint64(status)})
	if err := p.t.SetRegs(&regs); err != nil {
		return err
	}
	return p.t.end(0)
}

// Die has the process end by a signal, whose action must be the default.
func (p *Puppet) Die(sig unix.Signal) error {
	if err := p.t.SetSignalMask(0); err != nil {
		return err
	}
	if err := unix.Kill(p.t.PID, sig); err != nil {
		return p.t.wrap("end", err)
	}
	return p.t.end(0)
}

// end resumes the thread, which is about to end, and reaps it.
func (t *Tracee) end(sig unix.Signal) error {
	for range 64 {
		if err := unix.PtraceCont(t.TID, int(sig)); err != nil && err != unix.ESRCH {
			return t.wrap("end", err)
		}
		s, err := t.wait(0)
		if t.dead {
			return nil
		}
		if err != nil {
			return err
		}
		sig = 0
		if s.event == 0 && !s.syscall {
			sig = s.sig
		}
	}
	return t.wrap("end", errors.New("it goes on"))
}

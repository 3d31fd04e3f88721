package puppet

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/internal/tracee"
)

const (
	codeBytes          = abi.PageBytes
	puppetScratchBytes = 64 * abi.PageBytes
	// Bytes is how much room a puppet's own pages take.
	Bytes = codeBytes + vectorBytes + puppetScratchBytes

	puppetOptions = unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACESYSGOOD
)

// Puppet is a task of ours that has run nothing of its own. It dies with us.
type Puppet struct {
	t      *tracee.Tracee
	base   tracee.Regs
	code   uint64 // a page with VectorCode; a vector's array and scratch memory follow
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
	t, err := tracee.Born(pid, pid, near)
	if err != nil {
		return nil, err
	}
	if near {
		err = shareCPU(t.TID)
	}
	if err := errors.Join(err, t.Reseize(puppetOptions)); err != nil {
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

// begin finds a `syscall` instruction in the stub's vdso.
func (p *Puppet) begin() error {
	if err := p.t.ReadRegs(&p.base); err != nil {
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
		if i := bytes.Index(text, tracee.SyscallInsn); i >= 0 && len(tracee.SyscallInsn) > 0 {
			p.insn = m.Start + uint64(i)
			return nil
		}
	}
	return p.t.Wrap("find a syscall instruction", errors.New("there is none in its vdso"))
}

// Settle maps the puppet's own pages at addr, Bytes of them, where
// nothing is mapped.
func (p *Puppet) Settle(addr uint64) error {
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED_NOREPLACE
	if err := tracee.CallOK(p, "map a page for system calls", unix.SYS_MMAP, addr, codeBytes, unix.PROT_READ|unix.PROT_EXEC, flags, ^uint64(0), 0); err != nil {
		return err
	}
	if err := tracee.CallOK(p, "map scratch memory", unix.SYS_MMAP, addr+codeBytes, vectorBytes+puppetScratchBytes, unix.PROT_READ|unix.PROT_WRITE, flags, ^uint64(0), 0); err != nil {
		return err
	}
	if err := p.t.Poke(addr, tracee.VectorCode); err != nil {
		return err
	}
	p.code, p.insn = addr, addr
	return nil
}

// Own is the range of the puppet's own pages.
func (p *Puppet) Own() tracee.Range { return tracee.Range{Addr: p.code, Len: Bytes} }

// Scratch is memory of the puppet for arguments and results.
func (p *Puppet) Scratch() tracee.Range {
	return tracee.Range{Addr: p.code + codeBytes + vectorBytes, Len: puppetScratchBytes}
}

// Tracee is the puppet's thread.
func (p *Puppet) Tracee() *tracee.Tracee { return p.t }

// Unshare leaves what the puppet shares by these CLONE_ flags.
func (p *Puppet) Unshare(flags uint64) error {
	if err := tracee.CallOK(p, "leave what it shares", unix.SYS_UNSHARE, flags); err != nil {
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
	return tracee.CallOK(p, "close its descriptors", unix.SYS_CLOSE_RANGE, 0, 1<<32-1, 0)
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
		return -1, p.t.Wrap("fetch a descriptor", err)
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
	_, err := p.t.CallAt(&p.base, p.insn, unix.SYS_MUNMAP, []uint64{p.code, Bytes})
	return p.t.Wrap("unmap scratch memory", err)
}

// ForgetUs closes the puppet's descriptor of our process.
func (p *Puppet) ForgetUs() error {
	us := *p.us
	if us < 0 {
		return nil
	}
	*p.us = -1
	return tracee.CallOK(p, "close", unix.SYS_CLOSE, uint64(us))
}

// Prepare gives the thread the registers, extended registers and signal mask it
// is to run with. An interrupted system call is begun again by the kernel, or
// gone on with if Resume was told of it. All that is left to do is LetGo and
// Detach.
func (p *Puppet) Prepare(regs *tracee.Regs, xstate []byte, mask uint64, resumed bool) error {
	t := p.t
	if err := t.InterruptFromCall(); err != nil {
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

// Exit has the process end with an exit status.
func (p *Puppet) Exit(status int) error {
	regs := p.base
	regs.SetCall(p.insn, unix.SYS_EXIT_GROUP, []uint64{uint64(status)})
	if err := p.t.SetRegs(&regs); err != nil {
		return err
	}
	return p.t.End(0)
}

// Die has the process end by a signal, whose action must be the default.
func (p *Puppet) Die(sig unix.Signal) error {
	if err := p.t.SetSignalMask(0); err != nil {
		return err
	}
	if err := unix.Kill(p.t.PID, sig); err != nil {
		return p.t.Wrap("end", err)
	}
	return p.t.End(0)
}

// AllowTiles has the puppet's process ask for the tiles of AMX.
func (p *Puppet) AllowTiles(v *Vector) {
	nr, args := tracee.AllowTilesCall()
	v.Add("ask for the tiles of AMX", nr, args...)
}

// MakeTiles has the puppet use them: before that the kernel has no room for what a
// thread has in them.
func (p *Puppet) MakeTiles() error {
	return p.t.UseTiles(&p.base, p.code+codeBytes/2, p.Scratch().Addr)
}

// PlaceVDSO has the kernel map vdso and vvar at addr, where its first page goes.
func (p *Puppet) PlaceVDSO(v *Vector, addr uint64) {
	nr, args := tracee.PlaceVDSOCall(addr)
	v.Add(fmt.Sprintf("place the vdso at %#x", addr), nr, args...)
}

// Resume has the thread begin a wait again with the time that is left and
// interrupts it at once, so that the kernel itself goes on with it when the
// thread is let go. It changes regs, those to run with, accordingly. It must be
// the puppet's last call but Leave.
func (p *Puppet) Resume(w *tracee.Wait, regs *tracee.Regs) error {
	return p.t.ResumeWait(&p.base, p.insn, p.Scratch().Addr, w, regs)
}

// SuspendSeccomp is the same for all threads of the puppet's process: a filter
// may be installed for all of them at once.
func (p *Puppet) SuspendSeccomp() error {
	tids, err := proc.Threads(p.t.PID)
	if err != nil {
		return err
	}
	for _, tid := range tids {
		if err := unix.PtraceSetOptions(tid, puppetOptions|tracee.OptionSuspendSeccomp); err != nil {
			return p.t.Wrap("suspend seccomp", err)
		}
	}
	return nil
}

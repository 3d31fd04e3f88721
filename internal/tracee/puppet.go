package tracee

import (
	"bytes"
	"encoding/binary"
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
	us   *int // its table's descriptor of our process, -1 before there is one
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
	s := &Puppet{t: t, us: new(int)}
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

// Clone makes a child process with clone3(2) that has process id pid, shares
// what the CLONE_ flags say, and sends exitSignal when it ends. It is stopped
// before its first instruction.
func (p *Puppet) Clone(pid int, flags uint64, exitSignal unix.Signal) (*Puppet, error) {
	child, err := p.clone(&Tracee{PID: pid, TID: pid, near: p.t.near}, flags, exitSignal)
	if err != nil {
		return nil, p.t.wrap(fmt.Sprintf("make process %d", pid), err)
	}
	return child, nil
}

// CloneThread makes a thread with id tid in the puppet's process. flags say what
// it shares beside what all threads do.
func (p *Puppet) CloneThread(tid int, flags uint64) (*Puppet, error) {
	const always = unix.CLONE_VM | unix.CLONE_SIGHAND | unix.CLONE_THREAD
	child, err := p.clone(&Tracee{PID: p.t.PID, TID: tid, near: p.t.near}, always|flags, 0)
	if err != nil {
		return nil, p.t.wrap(fmt.Sprintf("make thread %d", tid), err)
	}
	return child, nil
}

func (p *Puppet) clone(t *Tracee, flags uint64, exitSignal unix.Signal) (*Puppet, error) {
	at := p.Scratch().Addr
	args := make([]byte, 0, 96) // struct clone_args, uapi linux/sched.h
	for _, v := range []uint64{flags, 0, 0, 0, uint64(exitSignal), 0, 0, 0, at + 88, 1, 0} {
		args = binary.LittleEndian.AppendUint64(args, v)
	}
	args = binary.LittleEndian.AppendUint64(args, uint64(t.TID))
	if err := p.t.WriteMem(at, args); err != nil {
		return nil, err
	}
	if _, err := p.Call(unix.SYS_CLONE3, at, 88); err != nil {
		return nil, err
	}
	if _, err := t.wait(0); err != nil { // the stop every auto-attached child begins with
		return nil, err
	}
	child := &Puppet{t: t, code: p.code, insn: p.insn, us: p.us}
	if flags&unix.CLONE_FILES == 0 {
		us := *p.us
		child.us = &us
	}
	return child, t.getRegs(&child.base)
}

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
		if err := p.Reserve(0); err != nil {
			return -1, err
		}
	}
	n, err := p.Call(unix.SYS_PIDFD_GETFD, uint64(*p.us), uint64(fd), 0)
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
	old := *p.us
	*p.us = int(high)
	for _, fd := range []int{int(us), old} {
		if fd >= 0 {
			if err := CallOK(p, "close", unix.SYS_CLOSE, uint64(fd)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Leave unmaps the puppet's own pages. No thread of the address space can make
// a call then.
func (p *Puppet) Leave() error {
	return CallOK(p, "unmap scratch memory", unix.SYS_MUNMAP, p.code, PuppetBytes)
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

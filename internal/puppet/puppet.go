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
	// Bytes is the size of a puppet's own pages.
	Bytes = codeBytes + vectorBytes + puppetScratchBytes

	puppetOptions = unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACESYSGOOD
)

// Puppet is a task of ours that has not run any code of its own. It dies with us.
type Puppet struct {
	t      *tracee.Tracee
	base   tracee.Regs
	code   uint64 // a page with VectorCode; a vector's array and scratch memory follow
	insn   uint64
	pidfd  *int  // our pidfd in its descriptor table, -1 if there is none yet
	singly *bool // its process makes calls one by one, see Singly
}

// StartStub starts this very program again, stopped before its first instruction. The
// calling goroutine must be locked to its OS thread. With sameCPU this thread and the
// stub, and so all puppets, are tied to the CPU on which this thread runs. That is good
// for many calls, but bad for much data: other threads, which prepare the data, need a
// CPU at the same time.
func StartStub(sameCPU bool) (*Puppet, error) { return start([]string{"ckpt-stub"}, nil, sameCPU, nil) }

// StartHolder starts this very program, as StartStub does, with copies of our
// descriptors, and returns their numbers there. A holder does nothing but keep them open.
func StartHolder(fds []int) (p *Puppet, numbers []int, err error) {
	// In ascending order each gets a number that is not above its own, so none replaces
	// one that is still to be copied.
	order := make([]int, len(fds))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return fds[a] - fds[b] })
	numbers, inherited := make([]int, len(fds)), make([]uintptr, len(fds))
	for n, i := range order {
		numbers[i], inherited[n] = n, uintptr(fds[i])
	}
	p, err = start([]string{"ckpt-holder"}, nil, false, inherited)
	return p, numbers, err
}

// start starts this very program with copies of these descriptors, stopped before its first
// instruction.
func start(args, env []string, sameCPU bool, fds []uintptr) (*Puppet, error) {
	if env == nil {
		env = []string{} // and not ours
	}
	pid, _, err := syscall.StartProcess("/proc/self/exe", args, &syscall.ProcAttr{
		Env: env, Files: fds,
		Sys: &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return nil, fmt.Errorf("start this program again as a stub: %w", err)
	}
	t, err := tracee.Born(pid, pid, sameCPU)
	if err != nil {
		return nil, err
	}
	if sameCPU {
		err = shareCPU(t.TID)
	}
	if err := errors.Join(err, t.Reseize(puppetOptions)); err != nil {
		return nil, errors.Join(err, t.Kill())
	}
	s := newPuppet(t)
	if err := s.begin(); err != nil {
		return nil, errors.Join(err, t.Kill())
	}
	return s, nil
}

func newPuppet(t *tracee.Tracee) *Puppet {
	s := &Puppet{t: t, pidfd: new(int), singly: new(bool)}
	*s.pidfd = -1
	return s
}

// shareCPU ties a task and this thread to the CPU on which this thread runs. Whoever makes
// a call in another task waits for it anyway, and on one CPU neither has to be woken by
// another.
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

// Settle maps the puppet's own pages, Bytes in all, at addr, where nothing may be
// mapped.
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

// Overwrite writes to the puppet's memory, regardless of protection.
func (p *Puppet) Overwrite(addr uint64, b []byte) error { return p.t.Poke(addr, b) }

// Tracee is the puppet's thread.
func (p *Puppet) Tracee() *tracee.Tracee { return p.t }

// Unshare ends the sharing that these CLONE_ flags stand for.
func (p *Puppet) Unshare(flags uint64) error {
	if err := tracee.CallOK(p, "end what it shares", unix.SYS_UNSHARE, flags); err != nil {
		return err
	}
	if flags&unix.CLONE_FILES != 0 {
		pidfd := *p.pidfd
		p.pidfd = &pidfd
	}
	return nil
}

// CloseAll closes every descriptor the puppet has.
func (p *Puppet) CloseAll() error {
	*p.pidfd = -1
	return tracee.CallOK(p, "close its descriptors", unix.SYS_CLOSE_RANGE, 0, 1<<32-1, 0)
}

// Give copies our descriptor fd into the puppet, which fetches it with pidfd_getfd(2). It
// returns its number there, the lowest free one.
func (p *Puppet) Give(fd int) (int, error) {
	if *p.pidfd < 0 {
		if _, err := p.Reserve(0); err != nil {
			return -1, err
		}
	}
	n, err := p.Call(unix.SYS_PIDFD_GETFD, uint64(*p.pidfd), uint64(fd), 0)
	if err != nil {
		return -1, p.t.Wrap("fetch a descriptor", err)
	}
	return int(n), nil
}

// Empty is CloseAll and Reserve with one stop.
func (p *Puppet) Empty(n int) error {
	*p.pidfd = -1
	v := p.Vector()
	v.Add("close its descriptors", unix.SYS_CLOSE_RANGE, 0, 1<<32-1, 0)
	_, err := p.reserve(v, n)
	return err
}

// Reserved is the number of the pidfd that Give needs; -1 if there is none yet.
func (p *Puppet) Reserved() int { return *p.pidfd }

// Reserve moves the pidfd that Give needs to a number not below n, and returns it.
func (p *Puppet) Reserve(n int) (int, error) { return p.reserve(p.Vector(), n) }

func (p *Puppet) reserve(v *Vector, n int) (int, error) {
	low := v.Add("open its restorer", unix.SYS_PIDFD_OPEN, uint64(os.Getpid()), 0)
	high := v.Add(fmt.Sprintf("reserve a descriptor above %d", n), unix.SYS_FCNTL, 0, unix.F_DUPFD_CLOEXEC, uint64(n)).From(0, low)
	v.Add("close", unix.SYS_CLOSE, 0).From(0, low)
	if old := *p.pidfd; old >= 0 {
		v.Add("close", unix.SYS_CLOSE, uint64(old))
	}
	if err := v.Run(); err != nil {
		return -1, err
	}
	*p.pidfd = int(high.result)
	return *p.pidfd, nil
}

// GiveIn is Give in a vector. Our descriptor must stay open until the vector has run.
func (p *Puppet) GiveIn(v *Vector, fd int) *VectorCall {
	if *p.pidfd < 0 && v.err == nil {
		_, v.err = p.Reserve(0)
	}
	return v.Add("fetch a descriptor", unix.SYS_PIDFD_GETFD, uint64(*p.pidfd), uint64(fd), 0)
}

// Leave unmaps the puppet's own pages. After that no thread of the address space can make
// a call.
func (p *Puppet) Leave() error {
	// Its code, with which it stops itself, is gone then, so this call is made with system
	// call stops.
	_, err := p.t.CallAt(&p.base, p.insn, unix.SYS_MUNMAP, []uint64{p.code, Bytes})
	return p.t.Wrap("unmap scratch memory", err)
}

// ClosePidfd closes the puppet's pidfd.
func (p *Puppet) ClosePidfd() error {
	fd := *p.pidfd
	if fd < 0 {
		return nil
	}
	*p.pidfd = -1
	return tracee.CallOK(p, "close", unix.SYS_CLOSE, uint64(fd))
}

// Prepare sets the registers, extended registers and signal mask with which the thread is
// to run. The kernel makes an interrupted system call again, or continues it if Resume
// has begun it. After that, only LetGo and Detach are left to do.
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

// Exit ends the process with an exit status.
func (p *Puppet) Exit(status int) error {
	regs := p.base
	regs.SetCall(p.insn, unix.SYS_EXIT_GROUP, []uint64{uint64(status)})
	if err := p.t.SetRegs(&regs); err != nil {
		return err
	}
	return p.t.End(0)
}

// EndAs ends the process with a status as from wait(2), see CanEnd. No core is dumped.
func (p *Puppet) EndAs(s unix.WaitStatus) error {
	if !s.Signaled() {
		return p.Exit(s.ExitStatus())
	}
	if err := tracee.CallOK(p, "not dump core", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	return p.Die(s.Signal())
}

// harmless are the signals whose default action does not end a process.
var harmless = []unix.Signal{unix.SIGCHLD, unix.SIGCONT, unix.SIGURG, unix.SIGWINCH, unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU}

const lastSignal = 64 // _NSIG

// CanEnd reports whether a process can end with this status.
func CanEnd(s unix.WaitStatus) bool {
	return s>>16 == 0 && (s.Exited() || s.Signaled() && s.Signal() <= lastSignal && !slices.Contains(harmless, s.Signal()))
}

// CanEndFirst reports whether the first thread of a process can end with this status while
// others go on.
func CanEndFirst(s unix.WaitStatus) bool { return s>>16 == 0 && s.Exited() }

// EndFirst ends the puppet, which is the first thread of its process, with this status and
// signal mask, and returns when /proc shows it as a zombie. The process's other threads
// still die with us.
func (p *Puppet) EndFirst(s unix.WaitStatus, mask uint64) error {
	regs := p.base
	regs.SetCall(p.insn, unix.SYS_EXIT, []uint64{uint64(s.ExitStatus())})
	if err := p.t.SetRegs(&regs); err != nil {
		return err
	}
	return p.t.EndFirst(mask)
}

// Die ends the process by a signal, whose action must be the default one.
func (p *Puppet) Die(sig unix.Signal) error {
	if err := p.t.SetSignalMask(0); err != nil {
		return err
	}
	if err := unix.Kill(p.t.PID, sig); err != nil {
		return p.t.Wrap("end", err)
	}
	return p.t.End(0)
}

// AllowTiles adds the call by which the puppet's process asks for the tiles of AMX.
func (p *Puppet) AllowTiles(v *Vector) {
	nr, args := tracee.AllowTilesCall()
	v.Add("ask for the tiles of AMX", nr, args...)
}

// MakeTiles makes the puppet use the tiles: before that the kernel has no room for their
// state.
func (p *Puppet) MakeTiles() error {
	return p.t.UseTiles(&p.base, p.code+codeBytes/2, p.Scratch().Addr)
}

// PlaceVDSO adds the call that makes the kernel map vdso and vvar, beginning at addr.
func (p *Puppet) PlaceVDSO(v *Vector, addr uint64) {
	nr, args := tracee.PlaceVDSOCall(addr)
	v.Add(fmt.Sprintf("map the vdso at %#x", addr), nr, args...)
}

// Resume lets the thread begin the wait again with the time that is left, and interrupts it
// at once, so that the kernel itself continues it when the thread is let go. It changes
// regs, with which the thread will run, accordingly. It must be the puppet's last call
// except for Leave.
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

package tracee

import (
	"encoding/binary"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// CloneCalls are the system calls that make a child and may wait for it, as
// vfork(2) does.
var CloneCalls = []int{unix.SYS_VFORK, unix.SYS_CLONE, unix.SYS_CLONE3}

// Relative waits that the kernel goes on with through restart_syscall(2), and
// where their arguments are.
const (
	flagsAbstime   = 1 // TIMER_ABSTIME of clock_nanosleep(2)
	futexCmdMask   = 127
	futexWait      = 0
	maxWaitSeconds = 1 << 33
)

// eintrOnStop are calls that fail with EINTR when the program is merely stopped,
// though no handler ran; see signal(7). All can be made again.
var eintrOnStop = []uint64{unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2, unix.SYS_RT_SIGTIMEDWAIT,
	unix.SYS_SEMOP, unix.SYS_SEMTIMEDOP, unix.SYS_IO_GETEVENTS}

// HideStop has the kernel make again a call that our stop alone would make fail
// with EINTR, unless a signal handler is to run.
func (t *Tracee) HideStop() error {
	regs, err := t.Regs()
	if err != nil {
		return err
	}
	if int64(regs.Rax) != -int64(unix.EINTR) || !slices.Contains(eintrOnStop, regs.Orig_rax) {
		return nil
	}
	regs.Rax = 1<<64 + erestartnohand
	return t.SetRegs(regs)
}

// Wait is a system call that waits for a time, interrupted, and what is left of
// that time.
type Wait struct {
	NR   int
	Left time.Duration
}

// TimeLeft finds out of an interrupted wait for a relative time how much of it
// is left; asleep is how long the thread had been asleep when it was stopped. It
// returns nil if the thread is in no such call.
func (t *Tracee) TimeLeft(r *Regs, asleep time.Duration) (*Wait, error) {
	nr := r.Interrupted()
	if nr == unix.SYS_RESTART_SYSCALL {
		nr = t.numberBefore(r.Rip)
	}
	w := &Wait{NR: nr}
	switch nr {
	case unix.SYS_NANOSLEEP:
		return w, t.sleepLeft(w, r.Rdi, r.Rsi, asleep)
	case unix.SYS_CLOCK_NANOSLEEP:
		if r.Rsi&flagsAbstime != 0 {
			return nil, nil
		}
		return w, t.sleepLeft(w, r.Rdx, r.R10, asleep)
	case unix.SYS_FUTEX:
		if r.Rsi&futexCmdMask != futexWait || r.R10 == 0 {
			return nil, nil
		}
		return w, t.sleepLeft(w, r.R10, 0, asleep)
	case unix.SYS_POLL:
		return millisecondsLeft(w, r.Rdx, asleep), nil
	case unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT:
		return millisecondsLeft(w, r.R10, asleep), nil
	}
	return nil, nil
}

// sleepLeft reads the time left from where the kernel wrote it when the wait was
// interrupted, or else takes what was slept from the time asked for. Both are
// struct timespec.
func (t *Tracee) sleepLeft(w *Wait, asked, left uint64, asleep time.Duration) error {
	at := asked
	if left != 0 {
		at, asleep = left, 0
	}
	var ts [16]byte
	if err := t.ReadMem(at, ts[:]); err != nil {
		return err
	}
	sec := min(int64(binary.LittleEndian.Uint64(ts[:])), maxWaitSeconds)
	w.Left = max(0, time.Duration(sec)*time.Second+time.Duration(binary.LittleEndian.Uint64(ts[8:]))-asleep)
	return nil
}

// millisecondsLeft is for calls whose argument is an int of milliseconds, where
// a negative one means no limit.
func millisecondsLeft(w *Wait, arg uint64, asleep time.Duration) *Wait {
	ms := int32(arg)
	if ms < 0 {
		return nil
	}
	w.Left = max(0, time.Duration(ms)*time.Millisecond-asleep)
	return w
}

// numberBefore returns the number of the call that ends at ip, if it was loaded
// by the instruction right before (mov $nr, %eax), as it is in most programs; a
// wait that was interrupted before is known to the kernel as restart_syscall.
func (t *Tracee) numberBefore(ip uint64) int {
	const movEAX = 0xb8
	var code [5 + syscallInsnBytes]byte
	if t.ReadMem(ip-uint64(len(code)), code[:]) != nil || code[0] != movEAX {
		return -1
	}
	return int(int32(binary.LittleEndian.Uint32(code[1:])))
}

// Resume has the thread begin the wait again with the time that is left and
// interrupts it at once, so that the kernel itself goes on with it when the
// thread is let go. It changes regs, those to run with, accordingly. It must be
// the puppet's last call but Leave.
func (p *Puppet) Resume(w *Wait, regs *Regs) error {
	args := []uint64{regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8, regs.R9}
	at := p.Scratch().Addr
	var ts []byte
	ts = binary.LittleEndian.AppendUint64(ts, uint64(w.Left/time.Second))
	ts = binary.LittleEndian.AppendUint64(ts, uint64(w.Left%time.Second))
	if err := p.t.WriteMem(at, ts); err != nil {
		return err
	}
	ms := uint64(w.Left.Round(time.Millisecond) / time.Millisecond)
	switch w.NR {
	case unix.SYS_NANOSLEEP:
		args[0] = at
	case unix.SYS_CLOCK_NANOSLEEP:
		args[2] = at
	case unix.SYS_FUTEX:
		args[3] = at
	case unix.SYS_POLL:
		args[2] = ms
	case unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT:
		regs.R10 = ms // this one the kernel does not go on with but makes again
		return nil
	}
	ret, err := p.t.interruptedCall(&p.base, p.insn, uintptr(w.NR), args)
	if err != nil {
		return err
	}
	if ret == erestartRestartblock {
		regs.Orig_rax = uint64(w.NR)
		return nil
	}
	// It is over: what it waited for has come.
	regs.Rax, regs.Orig_rax = uint64(ret), ^uint64(0)
	return nil
}

// interruptedCall is callAt for a call that finds itself interrupted.
func (t *Tracee) interruptedCall(base *Regs, ip uint64, nr uintptr, args []uint64) (int64, error) {
	regs := *base
	regs.setCall(ip, nr, args)
	if err := t.SetRegs(&regs); err != nil {
		return 0, err
	}
	t.inStop = false
	if err := t.toSyscallStop(); err != nil {
		return 0, err
	}
	if err := unix.PtraceInterrupt(t.TID); err != nil {
		return 0, t.wrap("interrupt", err)
	}
	if err := t.toSyscallStop(); err != nil {
		return 0, err
	}
	err := t.getRegs(&regs)
	return regs.result(), err
}

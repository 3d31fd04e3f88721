package tracee

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// CloneCalls are the system calls that make a child and may wait for it, as
// vfork(2) does.
var CloneCalls = []int{unix.SYS_VFORK, unix.SYS_CLONE, unix.SYS_CLONE3}

// For relative waits, which the kernel continues through restart_syscall(2), and their
// arguments.
const (
	flagsAbstime   = 1 // TIMER_ABSTIME of clock_nanosleep(2)
	futexCmdMask   = 127
	futexWait      = 0
	maxWaitSeconds = 1 << 33
	// the absolute value of a clock id is below this, addresses are above, see mmap_min_addr
	lowestAddress = 4096
)

// eintrOnStop are calls that fail with EINTR when the program is stopped, even if no handler
// runs, see signal(7). All of them can be made again.
var eintrOnStop = []uint64{unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2, unix.SYS_RT_SIGTIMEDWAIT,
	unix.SYS_SEMOP, unix.SYS_SEMTIMEDOP, unix.SYS_IO_GETEVENTS}

// HideStop makes the kernel repeat a call that would fail with EINTR only because of our
// stop, unless a signal handler is about to run.
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

// Wait is an interrupted system call that waits for a time, and how much of that time is
// left.
type Wait struct {
	NR   int
	Left time.Duration
}

// RecallWait is for a thread in a call that was interrupted before, so that the kernel calls
// it restart_syscall. It finds out which call that is, and writes its number to the
// registers, because in another thread only the call itself can be made again. It looks
// for the number in the program's code, or else at where in the kernel the thread sleeps;
// for that the thread has to be let run for a moment, and may do anything then.
func (t *Tracee) RecallWait(timeout time.Duration) (ran bool, err error) {
	if t.recalled {
		return false, nil
	}
	t.recalled = true
	for begin := time.Now(); ; ran = true {
		regs, err := t.Regs()
		if err != nil || regs.Interrupted() != unix.SYS_RESTART_SYSCALL {
			return ran, err
		}
		nr := t.numberBefore(regs.Rip)
		if nr < 0 {
			nr = waitAt(t.wchan, regs)
		}
		if nr >= 0 {
			regs.Orig_rax = uint64(nr)
			return ran, t.SetRegs(regs)
		}
		if time.Since(begin) > min(timeout, maxRecall) {
			return ran, nil // it is reported, see UnknownWait
		}
		if err := unix.PtraceCont(t.TID, 0); err != nil {
			return ran, t.Wrap("continue", err)
		}
		t.wchan = ""
		for range 20 {
			time.Sleep(500 * time.Microsecond)
			if at, err := proc.ReadWchan(t.PID, t.TID); err == nil && at != "" {
				t.wchan = at
				break
			}
		}
		if err := t.StopAgain(timeout); err != nil {
			return true, err
		}
		if err := t.HideStop(); err != nil {
			return true, err
		}
	}
}

// maxRecall bounds how long a thread is let run to find out what it waits for.
const maxRecall = time.Second

// waitAt returns which of the calls that restart_syscall(2) continues a thread is in, or -1.
// It tells by the kernel function in which the thread sleeps, see proc_pid_wchan(5). wchan
// leaves out some functions, among them those of nanosleep.
func waitAt(wchan string, r *Regs) int {
	switch {
	case wchan == "":
		return -1
	case strings.HasPrefix(wchan, "futex_"):
		return unix.SYS_FUTEX
	case strings.Contains(wchan, "poll"):
		return unix.SYS_POLL
	case r.clockFirst():
		return unix.SYS_CLOCK_NANOSLEEP
	}
	return unix.SYS_NANOSLEEP
}

// clockFirst reports whether the first argument is a clock id, an int, and not an address.
// The ids of CPU clocks and of clock devices are negative.
func (r *Regs) clockFirst() bool {
	negative := int64(r.Rdi) < 0 || r.Rdi>>31 == 1 && r.Rsi <= flagsAbstime
	return r.Rdi < lowestAddress || negative
}

// UnknownWait reports whether the thread is in a call that could not be found out, which
// would fail with EINTR in another thread.
func (r *Regs) UnknownWait() bool { return r.Interrupted() == unix.SYS_RESTART_SYSCALL }

// TimeLeft returns an interrupted wait for a relative time, and how much of that is left;
// asleep is how long the thread had been asleep when it was stopped. It returns nil if the
// thread is in no such call, or in one that begins from the start again.
func (t *Tracee) TimeLeft(r *Regs, asleep time.Duration) (*Wait, error) {
	nr := r.Interrupted()
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
	}
	return nil, nil
}

// AwaitedTask returns the id of the process or process group that an interrupted system
// call waits for, if it names one, else 0.
func (r *Regs) AwaitedTask() int {
	switch r.Interrupted() {
	case unix.SYS_WAIT4:
		id := int(int32(r.Rdi))
		if id < -1 {
			id = -id
		}
		return max(id, 0)
	case unix.SYS_WAITID:
		if r.Rdi == unix.P_PID || r.Rdi == unix.P_PGID {
			return max(int(int32(r.Rsi)), 0)
		}
	}
	return 0
}

// AwaitsPI reports whether an interrupted system call waits for a futex with priority
// inheritance, in which the id of its owner stands, see FUTEX_LOCK_PI in futex(2).
func (r *Regs) AwaitsPI() bool {
	const lockPI, waitRequeuePI, lockPI2 = 6, 11, 13
	if r.Interrupted() != unix.SYS_FUTEX {
		return false
	}
	op := r.Rsi & futexCmdMask
	return op == lockPI || op == waitRequeuePI || op == lockPI2
}

// sleepLeft reads the time left from where the kernel wrote it when the wait was interrupted.
// If there is no such place, it subtracts the time slept from the time asked for. Both are
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
	sec := min(max(0, int64(binary.LittleEndian.Uint64(ts[:]))), maxWaitSeconds)
	nsec := min(binary.LittleEndian.Uint64(ts[8:]), uint64(time.Second)) // the program may write there in the meantime
	w.Left = max(0, time.Duration(sec)*time.Second+time.Duration(nsec)-asleep)
	return nil
}

// millisecondsLeft is for calls whose argument is an int of milliseconds; a negative one
// means no limit.
func millisecondsLeft(w *Wait, arg uint64, asleep time.Duration) *Wait {
	ms := int32(arg)
	if ms < 0 {
		return nil
	}
	w.Left = max(0, time.Duration(ms)*time.Millisecond-asleep)
	return w
}

// numberBefore returns the number of the call that ends at ip, if the instruction right
// before loaded it (mov $nr, %eax), as in most programs, and if it is one that
// restart_syscall(2) continues; else -1.
func (t *Tracee) numberBefore(ip uint64) int {
	const movEAX = 0xb8
	var code [5 + syscallInsnBytes]byte
	if t.ReadMem(ip-uint64(len(code)), code[:]) != nil || code[0] != movEAX {
		return -1
	}
	switch nr := int(int32(binary.LittleEndian.Uint32(code[1:]))); nr {
	case unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_FUTEX, unix.SYS_POLL:
		return nr
	}
	return -1
}

// ResumeWait lets the thread begin the wait again with the time that is left, and interrupts
// it at once, so that the kernel itself continues it when the thread is let go. It changes
// regs, with which the thread will run, accordingly. The call is made as by CallAt, with
// memory at scratch.
func (t *Tracee) ResumeWait(base *Regs, ip, scratch uint64, w *Wait, regs *Regs) error {
	args := []uint64{regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8, regs.R9}
	at := scratch
	var ts []byte
	ts = binary.LittleEndian.AppendUint64(ts, uint64(w.Left/time.Second))
	ts = binary.LittleEndian.AppendUint64(ts, uint64(w.Left%time.Second))
	if err := t.WriteMem(at, ts); err != nil {
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
	default:
		return nil // from an older stream: the kernel does not continue it but makes it again
	}
	ret, err := t.interruptedCall(base, ip, uintptr(w.NR), args)
	if err != nil {
		return err
	}
	if ret == erestartRestartblock {
		regs.Orig_rax = uint64(w.NR)
		return nil
	}
	// The wait is over.
	regs.Rax, regs.Orig_rax = uint64(ret), ^uint64(0)
	return nil
}

// interruptedCall is callAt for a call that is interrupted at once.
func (t *Tracee) interruptedCall(base *Regs, ip uint64, nr uintptr, args []uint64) (int64, error) {
	regs := *base
	regs.SetCall(ip, nr, args)
	if err := t.SetRegs(&regs); err != nil {
		return 0, err
	}
	t.inStop = false
	if err := t.toSyscallStop(); err != nil {
		return 0, err
	}
	if err := unix.PtraceInterrupt(t.TID); err != nil {
		return 0, t.Wrap("interrupt", err)
	}
	if err := t.toSyscallStop(); err != nil {
		return 0, err
	}
	err := t.ReadRegs(&regs)
	return regs.result(), err
}

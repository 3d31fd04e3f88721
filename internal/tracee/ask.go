package tracee

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Query is a system call that changes nothing, but may write what it finds out to
// memory.
type Query struct {
	NR   uintptr
	Args [6]uint64
	Out  int   // how many bytes it writes
	To   uint8 // the arguments that say where, a bit for each: they count from there
}

// args are the arguments of a query that writes at an address.
func (q Query) args(at uint64) [6]uint64 {
	for i := range q.Args {
		if q.To&(1<<i) != 0 {
			q.Args[i] += at
		}
	}
	return q.Args
}

// Answer is what it returned and wrote.
type Answer struct {
	Ret  uint64
	Err  error
	Data []byte
}

// Ask asks one.
func Ask(c Caller, q Query) (Answer, error) {
	at := c.Scratch().Addr
	args := q.args(at)
	ret, err := c.Call(q.NR, args[:]...)
	switch err.(type) {
	case nil:
	case unix.Errno:
		return Answer{Ret: ret, Err: err}, nil
	default:
		return Answer{}, err
	}
	a := Answer{Ret: ret, Data: make([]byte, q.Out)}
	return a, c.Tracee().ReadMem(at, a.Data)
}

// Ask has the thread make queries, all of them with one stop where it can.
func (l *Loan) Ask(queries []Query) ([]Answer, error) {
	answers := make([]Answer, 0, len(queries))
	for len(queries) > 0 {
		n := 1
		if l.canStopItself() {
			n = l.fit(queries)
		}
		if n > 1 {
			more, err := l.askAll(queries[:n])
			if err != nil {
				return nil, err
			}
			answers = append(answers, more...)
		} else {
			a, err := Ask(l, queries[0])
			if err != nil {
				return nil, err
			}
			answers = append(answers, a)
		}
		queries = queries[n:]
	}
	return answers, nil
}

// canStopItself reports whether the thread can stop itself by a signal that means
// nothing to its process, should we die before it does. One that seccomp confines
// must not be in a call of ours for longer than need be.
func (l *Loan) canStopItself() bool {
	return l.place.ask != 0 && !l.place.tight && !l.t.confined && l.quietSignal() != 0
}

// quietSignal returns a signal that the process ignores and that does not wait for it,
// or 0. Which it is does not change while the loan lasts.
func (l *Loan) quietSignal() unix.Signal {
	if l.quiet != nil {
		return *l.quiet
	}
	l.quiet = new(unix.Signal)
	for _, sig := range []unix.Signal{unix.SIGURG, unix.SIGWINCH} {
		if l.place.caught&sigBit(sig) == 0 && !l.waits(sig) {
			*l.quiet = sig
			break
		}
	}
	return *l.quiet
}

// waits reports whether a signal may wait for the thread or its process.
func (l *Loan) waits(sig unix.Signal) bool {
	if !l.blocks(sig) {
		return false // at most since it was stopped, to be ignored
	}
	for _, shared := range []bool{false, true} {
		infos, err := l.t.PendingSignals(shared)
		if err != nil || slices.ContainsFunc(infos, func(info []byte) bool { return info[0] == byte(sig) }) {
			return true
		}
	}
	return false
}

// blocks reports whether the thread itself blocks a signal.
func (l *Loan) blocks(sig unix.Signal) bool { return l.mask&sigBit(sig) != 0 }

func sigBit(sig unix.Signal) uint64 { return 1 << (sig - 1) }

// The scratch memory while queries are asked: their entries, that of the call by
// which the thread stops itself, where to go on, and what they write.
const goOnBytes = 8

func askBytes(n int) uint64 { return uint64((n+1)*entryBytes + goOnBytes) }

// fit returns how many of the queries can be asked at once, 1 at least.
func (l *Loan) fit(queries []Query) int {
	out := uint64(0)
	for i, q := range queries {
		if out += outBytes(q); askBytes(i+1)+out > l.place.scratch.Len {
			return max(1, i)
		}
	}
	return len(queries)
}

// outBytes is how much memory is set apart for what a query writes.
func outBytes(q Query) uint64 { return uint64(q.Out+7) &^ 7 }

func (l *Loan) askAll(queries []Query) ([]Answer, error) {
	first, size := l.place.scratch.Addr, askBytes(len(queries))
	array := make([]byte, 0, size)
	for _, q := range queries {
		array = appendEntry(array, q.NR, q.args(first+size), 1)
		size += outBytes(q)
	}
	last := first + uint64(len(array))
	array = appendEntry(array, unix.SYS_TGKILL, [6]uint64{uint64(l.t.PID), uint64(l.t.TID), uint64(l.quietSignal())}, 0)
	array = binary.LittleEndian.AppendUint64(array, l.stand())
	// The thread must not be among entries that are being written.
	if err := l.standBy(); err != nil {
		return nil, err
	}
	if err := l.t.WriteMem(first, array); err != nil {
		return nil, err
	}
	strays, err := l.runAsk(first, last)
	if err != nil {
		return nil, err
	}
	got := make([]byte, size)
	if err := errors.Join(l.t.ReadMem(first, got), l.sendAgain(strays)); err != nil {
		return nil, err
	}
	answers, data := make([]Answer, len(queries)), got[len(array):]
	for i, q := range queries {
		a := &answers[i]
		a.Ret, a.Err = result(int64(binary.LittleEndian.Uint64(got[i*entryBytes:])))
		a.Data, data = data[:q.Out:q.Out], data[outBytes(q):]
	}
	return answers, nil
}

func appendEntry(array []byte, nr uintptr, args [6]uint64, flags uint64) []byte {
	array = binary.LittleEndian.AppendUint64(array, uint64(nr))
	for _, v := range args {
		array = binary.LittleEndian.AppendUint64(array, v)
	}
	return binary.LittleEndian.AppendUint64(array, flags)
}

// runAsk runs the thread from the first entry until it has stopped itself with the
// last. Signals of others that it gets until then are passed on: SIGSTOP, which stops
// it when we let go, and the one it uses, which it ignores. Of those that it blocks
// itself, which would have waited for it, it returns what they carry.
func (l *Loan) runAsk(first, last uint64) (strays [][]byte, err error) {
	t, quiet := l.t, l.quietSignal()
	regs := l.saved
	regs.setAsk(l.place.ask, first)
	if err := l.block(^sigBit(quiet)); err != nil {
		return nil, err
	}
	if err := t.SetRegs(&regs); err != nil {
		return nil, err
	}
	t.inStop, l.among = false, true
	for sig := 0; ; {
		if err := unix.PtraceCont(t.TID, sig); err != nil {
			return nil, t.wrap("run to the end of its calls", err)
		}
		s, err := t.wait(0)
		if err != nil {
			return nil, err
		}
		sig = 0
		switch {
		case s.event != 0: // as in toSyscallStop
		case s.syscall || s.sig != quiet && s.sig != unix.SIGSTOP:
			return nil, t.wrap("make system calls", fmt.Errorf("it got signal %v instead", s.sig))
		case s.sig == unix.SIGSTOP:
			sig = int(s.sig)
		default:
			if err := t.getRegs(&regs); err != nil {
				return nil, err
			}
			if regs.IP() == l.place.ask+uint64(asked) && regs.nextEntry() == last {
				t.inStop = true
				return strays, nil
			}
			if sig = int(s.sig); l.blocks(quiet) {
				strays, sig = append(strays, siginfo(t.TID)), 0
			}
		}
	}
}

// sendAgain sends signals that the thread has received again, to where they were
// sent: by the thread, which alone may say that others sent them. Only the first
// thread may do so for the process.
func (l *Loan) sendAgain(infos [][]byte) error {
	t, sig := l.t, l.quietSignal()
	for _, info := range infos {
		first := t.TID == t.PID
		if !sentToThread(info) && !first && unix.Kill(t.PID, sig) == nil {
			continue
		}
		at := l.place.scratch.Addr
		if err := errors.Join(l.standBy(), t.WriteMem(at, info)); err != nil {
			return err
		}
		nr, args := uintptr(unix.SYS_RT_TGSIGQUEUEINFO), []uint64{uint64(t.PID), uint64(t.TID), uint64(sig), at}
		if !sentToThread(info) && first {
			nr, args = unix.SYS_RT_SIGQUEUEINFO, []uint64{uint64(t.PID), uint64(sig), at}
		}
		if err := CallOK(l, "get its signal back", nr, args...); err != nil {
			return err
		}
	}
	return nil
}

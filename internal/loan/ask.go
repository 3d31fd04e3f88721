package loan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/tracee"
)

// Ask has the thread make queries, all of them with one stop if it can.
func (l *Loan) Ask(queries []tracee.Query) ([]tracee.Answer, error) {
	answers := make([]tracee.Answer, 0, len(queries))
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
			a, err := tracee.Ask(l, queries[0])
			if err != nil {
				return nil, err
			}
			answers = append(answers, a)
		}
		queries = queries[n:]
	}
	return answers, nil
}

// canStopItself reports whether the thread can stop itself by a signal that does not harm
// its process if we die before it does. A thread that seccomp confines should not be in a
// call of ours for longer than necessary.
func (l *Loan) canStopItself() bool {
	return l.place.ask != 0 && !l.place.tight && !l.t.Confined() && l.quietSignal() != 0
}

// quietSignal returns a signal that the process ignores and that is not pending, or 0. It
// stays the same during the loan.
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

// waits reports whether a signal may be pending for the thread or its process.
func (l *Loan) waits(sig unix.Signal) bool {
	if !l.blocks(sig) {
		return false // if at all, it came after the stop and will be ignored
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

// The scratch memory during queries has their entries, the entry of the call by which the
// thread stops itself, the address at which it goes on, and what the queries write.
const goOnBytes = 8

func askBytes(n int) uint64 { return uint64((n+1)*tracee.EntryBytes + goOnBytes) }

// fit returns how many of the queries can be made at once, at least 1.
func (l *Loan) fit(queries []tracee.Query) int {
	out := uint64(0)
	for i, q := range queries {
		if out += outBytes(q); askBytes(i+1)+out > l.place.scratch.Len {
			return max(1, i)
		}
	}
	return len(queries)
}

// outBytes is how much memory is reserved for what a query writes.
func outBytes(q tracee.Query) uint64 { return uint64(q.Out+7) &^ 7 }

func (l *Loan) askAll(queries []tracee.Query) ([]tracee.Answer, error) {
	first, size := l.place.scratch.Addr, askBytes(len(queries))
	array := make([]byte, 0, size)
	for _, q := range queries {
		array = tracee.AppendEntry(array, q.NR, q.ArgsAt(first+size), tracee.FlagNext)
		size += outBytes(q)
	}
	last := first + uint64(len(array))
	array = tracee.AppendEntry(array, unix.SYS_TGKILL, [6]uint64{uint64(l.t.PID), uint64(l.t.TID), uint64(l.quietSignal())}, 0)
	array = binary.LittleEndian.AppendUint64(array, l.parkAddr())
	// The thread must not run entries that are being written.
	if err := l.park(); err != nil {
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
	answers, data := make([]tracee.Answer, len(queries)), got[len(array):]
	for i, q := range queries {
		a := &answers[i]
		a.Ret, a.Err = tracee.Result(int64(binary.LittleEndian.Uint64(got[i*tracee.EntryBytes:])))
		a.Data, data = data[:q.Out:q.Out], data[outBytes(q):]
	}
	return answers, nil
}

// runAsk runs the thread from the first entry until it has stopped itself with the last.
// Signals that others send until then are passed on: SIGSTOP, which stops it when we let
// go, and the one it uses itself, which it ignores. But if the thread blocks that one, it
// would have become pending: then runAsk returns the siginfo of each.
func (l *Loan) runAsk(first, last uint64) (strays [][]byte, err error) {
	t, quiet := l.t, l.quietSignal()
	if err := l.block(^sigBit(quiet)); err != nil {
		return nil, err
	}
	regs := l.saved
	regs.SetAsk(l.place.ask, first)
	l.amongCalls = true
	err = t.Run(&regs, func(s tracee.Stop) (sig unix.Signal, done bool, err error) {
		switch {
		case s.Event != 0: // somebody stops the process, as in Loan.Call
			return 0, false, nil
		case s.Syscall || s.Sig != quiet && s.Sig != unix.SIGSTOP:
			return 0, false, t.Wrap("make system calls", fmt.Errorf("it got signal %v instead", s.Sig))
		case s.Sig == unix.SIGSTOP:
			return s.Sig, false, nil
		case regs.IP() == l.place.ask+uint64(tracee.AskedAt) && regs.NextEntry() == last:
			return 0, true, nil
		case l.blocks(quiet):
			strays = append(strays, tracee.Siginfo(t.TID))
			return 0, false, nil
		}
		return s.Sig, false, nil
	})
	if err != nil {
		return nil, err
	}
	t.StandsInSignal()
	return strays, nil
}

// sendAgain sends signals that the thread has received again, to the same thread or
// process. The thread itself sends them, because only it may set somebody else as the
// sender; for signals of the process only the first thread may do so.
func (l *Loan) sendAgain(infos [][]byte) error {
	t, sig := l.t, l.quietSignal()
	for _, info := range infos {
		first := t.TID == t.PID
		if !tracee.SentToThread(info) && !first && unix.Kill(t.PID, sig) == nil {
			continue
		}
		at := l.place.scratch.Addr
		if err := errors.Join(l.park(), t.WriteMem(at, info)); err != nil {
			return err
		}
		nr, args := uintptr(unix.SYS_RT_TGSIGQUEUEINFO), []uint64{uint64(t.PID), uint64(t.TID), uint64(sig), at}
		if !tracee.SentToThread(info) && first {
			nr, args = unix.SYS_RT_SIGQUEUEINFO, []uint64{uint64(t.PID), uint64(sig), at}
		}
		if err := tracee.CallOK(l, "get its signal back", nr, args...); err != nil {
			return err
		}
	}
	return nil
}

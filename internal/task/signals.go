package task

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/proc"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

const (
	ssOnStack = 1
)

// signals: blocked and pending signals, and the alternate signal stack.
var signals = row[record.Signals]{
	Type:     record.TypeSignals,
	Plenty:   "signals waiting",
	Required: true,
	First:    true,
	Asks:     func(*Collector) []tracee.Query { return []tracee.Query{altStack} },
	Collect: func(c *Collector) error {
		m, err := c.snapshot()
		if err != nil {
			return err
		}
		s := record.Signals{PID: c.PID, TID: c.TID, Blocked: c.Loan.SavedMask(), Pending: m.own[c.TID]}
		if c.PID == c.TID {
			s.Shared = m.shared
		}
		if c.Facts.ended() {
			s.Blocked = c.Status.SigBlk
			return c.Emit(record.TypeSignals, &s)
		}
		_, b, err := c.result(altStack)
		if err != nil {
			return fmt.Errorf("pid %d: alternate signal stack: %w", c.TID, err)
		}
		w := abi.Words(b)
		s.AltStack = record.AltStack{Sp: w[0], Flags: uint32(w[1]), Size: w[2]}
		return c.Emit(record.TypeSignals, &s)
	},
	Check: func(s *record.Signals) []error {
		for _, info := range append(s.Pending, s.Shared...) {
			if len(info) != abi.SiginfoBytes {
				return []error{fmt.Errorf("pending signal of %d bytes, but a siginfo has %d", len(info), abi.SiginfoBytes)}
			}
		}
		return nil
	},
	Restore: restoreSignals,
}.resource()

// altStack asks for the alternate signal stack.
var altStack = query(abi.StackBytes, unix.SYS_SIGALTSTACK, 0, scratchArg)

func restoreSignals(r *Restorer, s *record.Signals) error {
	r.Final.Mask = s.Blocked
	stack := abi.Bytes(s.AltStack.Sp, uint64(s.AltStack.Flags&^ssOnStack), s.AltStack.Size)
	r.callWith("set its alternate signal stack", stack, unix.SYS_SIGALTSTACK, scratchArg, 0)
	// A task may queue any siginfo to itself, see rt_sigqueueinfo(2). All signals
	// are blocked until the task is let go.
	if err := r.Puppet.Tracee().SetSignalMask(^uint64(0)); err != nil {
		return err
	}
	if len(s.Shared)+len(s.Pending) > 0 {
		if err := r.roomForSignals(); err != nil {
			return err
		}
	}
	for _, info := range s.Shared {
		r.callWith("queue a signal", info, unix.SYS_RT_SIGQUEUEINFO, uint64(r.PID), r.number(info), scratchArg)
	}
	for _, info := range s.Pending {
		r.callWith("queue a signal", info, unix.SYS_RT_TGSIGQUEUEINFO, uint64(r.PID), uint64(s.TID), r.number(info), scratchArg)
	}
	return nil
}

// roomForSignals raises RLIMIT_SIGPENDING as far as we may, until lowerSignals: the
// process may have lowered it when it already had its signals and timers.
func (r *Restorer) roomForSignals() error {
	const all = unix.RLIM_INFINITY
	if unix.Prlimit(r.PID, unix.RLIMIT_SIGPENDING, &unix.Rlimit{Cur: all, Max: all}, nil) == nil {
		return nil
	}
	// That takes CAP_SYS_RESOURCE; raising only the soft limit takes no capability.
	now, err := proc.ReadLimits(r.PID)
	if err != nil {
		return err
	}
	if l := now[unix.RLIMIT_SIGPENDING]; l.Soft < l.Hard {
		r.callWith("raise RLIMIT_SIGPENDING", abi.Bytes(l.Hard, l.Hard), unix.SYS_SETRLIMIT, unix.RLIMIT_SIGPENDING, scratchArg)
	}
	return nil
}

// number returns the number of a signal that is about to be queued.
func (r *Restorer) number(info []byte) uint64 {
	sig := binary.LittleEndian.Uint32(info)
	if sig == uint32(unix.SIGCONT) {
		r.Puppet.Singly() // from now on, or it could get lost
	}
	return uint64(sig)
}

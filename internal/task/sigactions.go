package task

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/kcmp"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

const (
	lastSignal = 64
)

// sigactions: what a process does on each signal. Each query takes a system call in
// the process, so only those signals are queried that /proc shows as caught or
// ignored, and SIGCHLD, whose flags matter even with the default action.
var sigactions = row[record.Sigactions]{
	Type:  record.TypeSigactions,
	Scope: Shared,
	Asks: func(c *Collector) (all []tracee.Query) {
		for _, sig := range c.actions() {
			all = append(all, sigactionOf(sig))
		}
		return all
	},
	Collect: func(c *Collector) error {
		all := record.Sigactions{Object: c.object(kcmp.Sighand), PID: c.PID}
		for _, sig := range c.actions() {
			_, b, err := c.result(sigactionOf(sig))
			if err != nil {
				return fmt.Errorf("pid %d: action of signal %d: %w", c.PID, sig, err)
			}
			if w := abi.Words(b); w[0]|w[1]|w[2]|w[3] != 0 {
				all.Actions = append(all.Actions, record.Sigaction{Signal: sig, Handler: w[0], Flags: w[1], Restorer: w[2], Mask: w[3]})
			}
		}
		return c.Emit(record.TypeSigactions, &all)
	},
	Check: func(s *record.Sigactions) (errs []error) {
		for _, a := range s.Actions {
			fixed := a.Signal == int(unix.SIGKILL) || a.Signal == int(unix.SIGSTOP)
			errs = append(errs, corruptIf(a.Signal < 1 || a.Signal > lastSignal || fixed, "an action of signal %d", a.Signal)...)
		}
		return errs
	},
	Restore: func(r *Restorer, s *record.Sigactions) error {
		// In a puppet all actions are the default, but SIGCHLD may be ignored.
		actions := append([]record.Sigaction{{Signal: int(unix.SIGCHLD)}}, s.Actions...)
		for _, a := range actions {
			r.callWith(fmt.Sprintf("set the action of signal %d", a.Signal),
				abi.Bytes(a.Handler, a.Flags, a.Restorer, a.Mask), unix.SYS_RT_SIGACTION, uint64(a.Signal), scratchArg, 0, abi.SigsetBytes)
		}
		return nil
	},
}.resource()

// actions returns the signals whose action is queried.
func (c *Collector) actions() (sigs []int) {
	for sig := 1; sig <= lastSignal; sig++ {
		if (c.Status.SigCgt|c.Status.SigIgn|sigBit(unix.SIGCHLD))&sigBit(unix.Signal(sig)) != 0 {
			sigs = append(sigs, sig)
		}
	}
	return sigs
}

func sigactionOf(sig int) tracee.Query {
	return query(abi.SigactionBytes, unix.SYS_RT_SIGACTION, uint64(sig), 0, scratchArg, abi.SigsetBytes)
}

func sigBit(sig unix.Signal) uint64 { return 1 << (sig - 1) }

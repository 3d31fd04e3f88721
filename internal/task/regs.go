package task

import (
	"errors"
	"fmt"
	"time"

	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// regs: general and extended registers, and an interrupted system call.
var regs = row[record.Regs]{
	Type:     record.TypeRegs,
	Required: true,
	Collect: func(c *Collector) error {
		saved := c.Loan.Saved()
		if !saved.Is64() {
			c.Block(errors.New("it runs 32-bit code, which can't be saved"))
		}
		if saved.UnknownWait() {
			c.Note("pid %d (%s), thread %d: it waits in a system call that was interrupted before, and the kernel does not tell in which; when restored, the call fails with EINTR",
				c.PID, c.Stat.Comm, c.TID)
		}
		xstate, err := c.Loan.Tracee().XState()
		if err != nil {
			return err
		}
		rec := record.Regs{PID: c.PID, TID: c.TID, GP: saved.Encode(), XState: tracee.TrimXState(xstate), IP: saved.IP(), Syscall: saved.Interrupted()}
		wait, err := c.Loan.Tracee().TimeLeft(saved, c.Asleep)
		if err != nil {
			return err
		}
		if wait != nil {
			left := int64(wait.Left)
			rec.Syscall, rec.Left = wait.NR, &left
		}
		return c.Emit(record.TypeRegs, &rec)
	},
	Check: func(g *record.Regs) []error {
		_, err := tracee.DecodeRegs(g.GP)
		if err == nil && g.Left != nil && *g.Left < 0 {
			err = fmt.Errorf("%w: %d ns left of a wait", stream.ErrCorrupt, *g.Left)
		}
		if err != nil {
			return []error{fmt.Errorf("registers: %w", err)}
		}
		return nil
	},
	Restore: func(r *Restorer, g *record.Regs) error {
		r.Final.XState = g.XState
		if g.Left != nil {
			r.Final.Wait = &tracee.Wait{NR: g.Syscall, Left: time.Duration(*g.Left)}
		}
		var err error
		r.Final.Regs, err = tracee.DecodeRegs(g.GP)
		return err
	},
}.resource()

package task

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/kcmp"
	"ckpt/stream"
)

const (
	lastSignal      = 64
	sigactionBytes  = 32 // struct kernel_sigaction on x86-64: handler, flags, restorer, mask
	kernelSigsetLen = 8
)

// sigactions: what a process does on each signal.
var sigactions = Resource{
	Type:  stream.TypeSigactions,
	Scope: Shared,
	Collect: func(c *Collector) error {
		all := stream.Sigactions{Object: c.object(kcmp.Sighand), PID: c.PID}
		for sig := 1; sig <= lastSignal; sig++ {
			if sig == int(unix.SIGKILL) || sig == int(unix.SIGSTOP) {
				continue
			}
			b, err := peek(c.Loan, sigactionBytes, unix.SYS_RT_SIGACTION, uint64(sig), 0, scratchArg, kernelSigsetLen)
			if err != nil {
				return fmt.Errorf("pid %d: action of signal %d: %w", c.PID, sig, err)
			}
			if w := words(b); w[0]|w[1]|w[2]|w[3] != 0 {
				all.Actions = append(all.Actions, stream.Sigaction{Signal: sig, Handler: w[0], Flags: w[1], Restorer: w[2], Mask: w[3]})
			}
		}
		return c.Emit(stream.TypeSigactions, &all)
	},
	Restore: func(r *Restorer, rec *stream.Record) error {
		s, err := decode[stream.Sigactions](rec)
		if err != nil {
			return err
		}
		want := map[int]stream.Sigaction{}
		for _, a := range s.Actions {
			want[a.Signal] = a
		}
		// The stub inherited what ckpt-apply ignores, so every signal is set.
		for sig := 1; sig <= lastSignal; sig++ {
			if sig == int(unix.SIGKILL) || sig == int(unix.SIGSTOP) {
				continue
			}
			a := want[sig]
			err := poke(r.Puppet, fmt.Sprintf("set the action of signal %d", sig),
				bytesOf(a.Handler, a.Flags, a.Restorer, a.Mask), unix.SYS_RT_SIGACTION, uint64(sig), scratchArg, 0, kernelSigsetLen)
			if err != nil {
				return err
			}
		}
		return nil
	},
}

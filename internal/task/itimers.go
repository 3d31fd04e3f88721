package task

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/stream"
)

// itimers: the interval timers of setitimer(2), which alarm(2) uses too.
var itimers = Resource{
	Type: stream.TypeItimers,
	Collect: func(c *Collector) error {
		rec := stream.Itimers{PID: c.PID}
		for which := range 3 {
			b, err := peek(c.Loan, 32, unix.SYS_GETITIMER, uint64(which), scratchArg)
			if err != nil {
				return fmt.Errorf("pid %d: interval timer %d: %w", c.PID, which, err)
			}
			w := words(b) // struct itimerval: interval, then value, as sec and µs
			value := int64(w[2])*1e6 + int64(w[3])
			if value != 0 {
				rec.Timers = append(rec.Timers, stream.Itimer{Which: which, ValueUS: value, IntervalUS: int64(w[0])*1e6 + int64(w[1])})
			}
		}
		if len(rec.Timers) == 0 {
			return nil
		}
		return c.Emit(stream.TypeItimers, &rec)
	},
	Restore: func(r *Restorer, rec *stream.Record) error {
		it, err := decode[stream.Itimers](rec)
		if err != nil {
			return err
		}
		for _, t := range it.Timers {
			val := bytesOf(uint64(t.IntervalUS/1e6), uint64(t.IntervalUS%1e6), uint64(t.ValueUS/1e6), uint64(t.ValueUS%1e6))
			if err := poke(r.Puppet, "start its interval timer", val, unix.SYS_SETITIMER, uint64(t.Which), scratchArg, 0); err != nil {
				return err
			}
		}
		return nil
	},
}

package task

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

const (
	itimerReal = 0 // of getitimer(2)
	itimerProf = 2 // the last
)

// itimers: the interval timers of setitimer(2), one of which alarm(2) uses.
var itimers = row[record.Itimers]{
	Type:  record.TypeItimers,
	Scope: PerProcess,
	Collect: func(c *Collector) error {
		m, err := c.snapshot()
		if err != nil || len(m.itimers) == 0 {
			return err
		}
		return c.Emit(record.TypeItimers, &record.Itimers{PID: c.PID, Timers: m.itimers})
	},
	Check: func(it *record.Itimers) (errs []error) {
		for _, t := range it.Timers {
			errs = append(errs, corruptIf(t.Which < 0 || t.Which > itimerProf || t.ValueUS < 0 || t.IntervalUS < 0, "interval timer %d of %d µs, each %d µs", t.Which, t.ValueUS, t.IntervalUS)...)
		}
		return errs
	},
	Restore: func(r *Restorer, it *record.Itimers) error {
		for _, t := range it.Timers {
			val := abi.Bytes(uint64(t.IntervalUS/1e6), uint64(t.IntervalUS%1e6), uint64(t.ValueUS/1e6), uint64(t.ValueUS%1e6))
			r.callWith("start its interval timer", val, unix.SYS_SETITIMER, uint64(t.Which), scratchArg, 0)
		}
		return nil
	},
}.resource()

// askItimers returns the queries for the timers.
func askItimers() (all []tracee.Query) {
	for which := range uint64(3) {
		all = append(all, query(32, unix.SYS_GETITIMER, which, scratchArg))
	}
	return all
}

// itimersOf returns the timers that are armed. ITIMER_REAL is not armed between its
// expiry and the moment when its signal is delivered, see posixtimer_rearm_itimer in
// kernel/signal.c. If the signal is pending, a periodic timer is recorded as one that
// expires at once: the two signals merge into one.
func itimersOf(pid int, answers []tracee.Answer, alarmWaits bool) (timers []record.Itimer, err error) {
	for which, a := range answers {
		if a.Err != nil {
			return nil, fmt.Errorf("pid %d: interval timer %d: %w", pid, which, a.Err)
		}
		w := abi.Words(a.Data) // struct itimerval: interval, then value, as sec and µs
		t := record.Itimer{Which: which, ValueUS: int64(w[2])*1e6 + int64(w[3]), IntervalUS: int64(w[0])*1e6 + int64(w[1])}
		if t.ValueUS == 0 && t.IntervalUS != 0 && which == itimerReal && alarmWaits {
			t.ValueUS = 1
		}
		if t.ValueUS != 0 {
			timers = append(timers, t)
		}
	}
	return timers, nil
}

package task

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/cli"
	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// rlimitNames are the names of the limits after RLIMIT_, by number.
var rlimitNames = [...]string{"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS",
	"LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"}

// limits: resource limits. They are read from /proc, because prlimit(2) on another
// user's process takes a capability that we may lack.
var limits = row[record.Limits]{
	Type:     record.TypeLimits,
	Required: true,
	Scope:    PerProcess,
	Collect: func(c *Collector) error {
		l, err := proc.ReadLimits(c.PID)
		if err != nil {
			return err
		}
		rec := record.Limits{PID: c.PID}
		for _, v := range l {
			rec.Limits = append(rec.Limits, record.Limit{Soft: v.Soft, Hard: v.Hard})
		}
		return c.Emit(record.TypeLimits, &rec)
	},
	Check:   checkLimits,
	Here:    limitsHere,
	Restore: restoreLimits,
	Last:    lowerSignals,
}.resource()

func checkLimits(l *record.Limits) []error {
	if len(l.Limits) != len(rlimitNames) {
		return []error{fmt.Errorf("%d resource limits, but there are %d", len(l.Limits), len(rlimitNames))}
	}
	return nil
}

// limitsHere returns an error for each hard limit that can't be raised to what it
// was.
func limitsHere(h *Host, l *record.Limits) []error {
	own, err := h.ownLimits()
	if err != nil {
		return []error{err}
	}
	errs := tooManyFiles(l, own, h.nrOpen)
	if h.CapEff&(1<<unix.CAP_SYS_RESOURCE) != 0 {
		return errs
	}
	return append(errs, tooHigh(l, own)...)
}

// tooManyFiles: not even root may set RLIMIT_NOFILE above fs.nr_open.
func tooManyFiles(l *record.Limits, own *proc.Limits, most int64) []error {
	if len(l.Limits) <= unix.RLIMIT_NOFILE {
		return nil
	}
	want, now := l.Limits[unix.RLIMIT_NOFILE], own[unix.RLIMIT_NOFILE]
	if want.Hard <= uint64(most) || want.Hard == now.Hard && want.Soft == now.Soft {
		return nil
	}
	return []error{cli.WithHint(fmt.Errorf("pid %d had a hard limit RLIMIT_NOFILE of %s, and this system allows at most %d (fs.nr_open)", l.PID, limitText(want.Hard), most),
		fmt.Sprintf("sysctl fs.nr_open=%d", min(want.Hard, 1<<30)))}
}

// tooHigh compares the limits with our own. If there are too many, Check says so.
func tooHigh(l *record.Limits, own *proc.Limits) (errs []error) {
	for i, want := range l.Limits[:min(len(l.Limits), len(own))] {
		if want.Hard > own[i].Hard {
			errs = append(errs, fmt.Errorf("pid %d had a hard limit RLIMIT_%s of %s, and ckpt-apply may set at most %s: start it with that limit or with CAP_SYS_RESOURCE",
				l.PID, rlimitNames[i], limitText(want.Hard), limitText(own[i].Hard)))
		}
	}
	return errs
}

func limitText(v uint64) string {
	if v == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return fmt.Sprint(v)
}

func restoreLimits(r *Restorer, l *record.Limits) error {
	now, err := proc.ReadLimits(r.PID)
	if err != nil {
		return err
	}
	for i, want := range l.Limits {
		if i == unix.RLIMIT_SIGPENDING { // it is lowered only when the process has its timers, see lowerSignals
			want = record.Limit{Soft: max(want.Hard, now[i].Hard), Hard: max(want.Hard, now[i].Hard)}
			if want.Hard == now[i].Hard {
				continue
			}
		}
		if now[i].Soft == want.Soft && now[i].Hard == want.Hard {
			continue
		}
		r.callWith("set RLIMIT_"+rlimitNames[i], abi.Bytes(want.Soft, want.Hard), unix.SYS_SETRLIMIT, uint64(i), scratchArg)
	}
	return nil
}

// lowerSignals sets RLIMIT_SIGPENDING when the process has its signals and timers, which
// may exceed it.
func lowerSignals(r *Restorer, l *record.Limits) (undo func() error, err error) {
	undo = func() error { return nil }
	now, err := proc.ReadLimits(r.PID)
	if err != nil {
		return nil, err
	}
	if want, is := l.Limits[unix.RLIMIT_SIGPENDING], now[unix.RLIMIT_SIGPENDING]; want.Soft != is.Soft || want.Hard != is.Hard {
		r.callWith("set RLIMIT_SIGPENDING", abi.Bytes(want.Soft, want.Hard), unix.SYS_SETRLIMIT, unix.RLIMIT_SIGPENDING, scratchArg)
	}
	return undo, r.Make()
}

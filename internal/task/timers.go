package task

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/caps"
	"ckpt/internal/proc"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

const (
	sigevNone     = 1
	sigevThreadID = 4

	prTimerCreateRestoreIDs = 77 // uapi linux/prctl.h, Linux 6.15
	// maxCountedTimerID is the largest id that is reached by counting, on a kernel
	// that doesn't let us choose the id: that takes two system calls for each.
	maxCountedTimerID = 1 << 20
)

// notifyModes maps the names in /proc/PID/timers to values of sigev_notify.
var notifyModes = map[string]int{"signal": 0, "none": sigevNone, "thread": 2}

// timers: a process's timers of timer_create(2). They are started as late as
// possible, and when all threads exist, because their signals may go to threads.
var timers = row[record.Timers]{
	Type:   record.TypeTimers,
	Plenty: "POSIX timers",
	Scope:  PerProcess,
	Collect: func(c *Collector) error {
		m, err := c.snapshot()
		if err != nil || len(m.timers) == 0 {
			return err
		}
		tids, err := proc.Threads(c.PID)
		if err != nil {
			return err
		}
		for i := range m.timers {
			if err := savableClock(&m.timers[i], c.PID, tids); err != nil {
				c.Block(err)
			}
		}
		return c.Emit(record.TypeTimers, &record.Timers{PID: c.PID, Timers: m.timers})
	},
	Check: func(t *record.Timers) []error {
		err := checkTimers(t)
		if err != nil {
			return []error{err}
		}
		return nil
	},
	Here: func(h *Host, t *record.Timers) []error {
		if slices.ContainsFunc(t.Timers, wakes) {
			return h.Need(caps.Of(unix.CAP_WAKE_ALARM), h.Who(t.PID), "make the timers of %s that wake the system")
		}
		return nil
	},
	Restore: restoreTimers,
	Settled: true, // each takes one of RLIMIT_SIGPENDING of the user, which creds sets
}.resource()

// wakes reports whether a timer uses a clock that wakes the system.
func wakes(t record.Timer) bool {
	return t.Clock == unix.CLOCK_REALTIME_ALARM || t.Clock == unix.CLOCK_BOOTTIME_ALARM
}

// askTimers returns the queries for the timers that /proc lists, two for each.
func askTimers(list []proc.Timer) (all []tracee.Query) {
	for _, p := range list {
		all = append(all, query(32, unix.SYS_TIMER_GETTIME, uint64(p.ID), scratchArg), query(0, unix.SYS_TIMER_GETOVERRUN, uint64(p.ID)))
	}
	return all
}

// timersOf returns all timers, by id.
func timersOf(pid int, list []proc.Timer, answers []tracee.Answer) ([]record.Timer, error) {
	all := make([]record.Timer, len(list))
	for i, p := range list {
		t := record.Timer{ID: p.ID, Clock: p.ClockID, Notify: notifyModes[p.Mode], Signal: p.Signal, Value: p.Value}
		if p.Thread {
			t.Notify |= sigevThreadID
			t.TID = p.Target
		}
		left, overrun := answers[2*i], answers[2*i+1]
		if left.Err != nil {
			return nil, fmt.Errorf("pid %d: time left on timer %d: %w", pid, p.ID, left.Err)
		}
		w := abi.Words(left.Data) // struct itimerspec: interval, then value, as sec and ns
		t.IntervalNS, t.ValueNS = int64(w[0])*1e9+int64(w[1]), int64(w[2])*1e9+int64(w[3])
		if overrun.Err != nil {
			return nil, fmt.Errorf("pid %d: overrun of timer %d: %w", pid, p.ID, overrun.Err)
		}
		t.Overrun = int(overrun.Ret)
		all[i] = t
	}
	slices.SortFunc(all, func(a, b record.Timer) int { return a.ID - b.ID })
	return all, nil
}

// cpuClock decodes the id of a CPU clock, see clock_getcpuclockid(3) and
// linux/posix-timers_types.h. id 0 stands for the caller.
func cpuClock(clock int) (id int, thread, ok bool) {
	return record.ClockOwner(clock), clock&4 != 0, clock < 0 && clock&3 != 3
}

// savableClock returns an error if a timer's clock would not be the same after a
// restore.
func savableClock(t *record.Timer, pid int, tids []int) error {
	id, thread, cpu := cpuClock(t.Clock)
	switch {
	case t.Clock == unix.CLOCK_THREAD_CPUTIME_ID && len(tids) > 1:
		return fmt.Errorf("has a timer (%d) on the CPU time of one of its %d threads, which can't be saved: the kernel does not tell which thread", t.ID, len(tids))
	case t.Clock < 0 && !cpu:
		return fmt.Errorf("has a timer (%d) on a clock device, which can't be saved", t.ID)
	case !cpu || id == 0:
		return nil
	case thread && !slices.Contains(tids, id):
		return fmt.Errorf("has a timer (%d) on the CPU time of thread %d, which has ended; that can't be saved", t.ID, id)
	case !thread && id != pid:
		return fmt.Errorf("has a timer (%d) on the CPU time of another process, pid %d, which can't be saved", t.ID, id)
	}
	return nil
}

// checkTimers returns an error for timers that no process can have, and for ids that
// this kernel can't give.
func checkTimers(r *record.Timers) error {
	last := -1
	for i := range r.Timers {
		t := &r.Timers[i]
		_, _, cpu := cpuClock(t.Clock)
		switch {
		case t.ID <= last || t.ID > 1<<31-1:
			return fmt.Errorf("%w: pid %d has timer %d after timer %d", stream.ErrCorrupt, r.PID, t.ID, last)
		case t.ValueNS < 0 || t.IntervalNS < 0:
			return fmt.Errorf("%w: pid %d has timer %d with negative times", stream.ErrCorrupt, r.PID, t.ID)
		case t.Signal < 0 || t.Signal > lastSignal || t.Notify&^7 != 0 || t.TID < 0:
			return fmt.Errorf("%w: pid %d has timer %d that sends signal %d by method %d", stream.ErrCorrupt, r.PID, t.ID, t.Signal, t.Notify)
		case t.Clock < 0 && !cpu:
			return fmt.Errorf("%w: pid %d has timer %d on clock %d", stream.ErrCorrupt, r.PID, t.ID, t.Clock)
		}
		last = t.ID
	}
	if last > maxCountedTimerID {
		if _, err := unix.PrctlRetInt(prTimerCreateRestoreIDs, 2, 0, 0, 0); err != nil {
			return fmt.Errorf("pid %d has a POSIX timer with id %d, and this kernel can't give ids as large: use Linux 6.15 or later", r.PID, last)
		}
	}
	return nil
}

func restoreTimers(r *Restorer, all *record.Timers) error {
	_, unable := r.Puppet.Call(unix.SYS_PRCTL, prTimerCreateRestoreIDs, 1, 0, 0, 0)
	// It may have lowered its limit when it already had the timers, see lowerSignals.
	if err := errors.Join(r.roomForSignals(), r.Make()); err != nil {
		return err
	}
	for i := range all.Timers {
		t := &all.Timers[i]
		if err := r.makeTimer(t, unable == nil); err != nil {
			return fmt.Errorf("pid %d: make its timer %d on clock %d: %w", r.PID, t.ID, t.Clock, err)
		}
	}
	for i := range all.Timers {
		t := &all.Timers[i]
		spec := abi.Bytes(uint64(t.IntervalNS/1e9), uint64(t.IntervalNS%1e9), uint64(t.ValueNS/1e9), uint64(t.ValueNS%1e9))
		r.callWith(fmt.Sprintf("start its timer %d", t.ID), spec, unix.SYS_TIMER_SETTIME, uint64(t.ID), 0, scratchArg, 0)
	}
	if unable == nil {
		r.prctl("let the kernel choose timer ids", prTimerCreateRestoreIDs, 0)
	}
	return nil
}

// makeTimer makes a timer with the id it had. With byID the kernel takes the id;
// otherwise it counts up, and timers are made and deleted until it gets there.
func (r *Restorer) makeTimer(t *record.Timer, byID bool) error {
	notify := t.Notify
	if notify&sigevThreadID != 0 && t.TID == 0 {
		notify = sigevNone // the thread that got its signals had ended
	}
	event := binary.LittleEndian.AppendUint64(nil, t.Value)
	for _, v := range []int{t.Signal, notify, t.TID} {
		event = binary.LittleEndian.AppendUint32(event, uint32(v))
	}
	event = append(event, make([]byte, abi.SigeventBytes-len(event))...)
	event = binary.LittleEndian.AppendUint32(event, uint32(t.ID)) // in and out
	for {
		id, err := r.createTimer(t.Clock, event)
		switch {
		case err != nil:
			return err
		case id == t.ID:
			return nil
		case byID || id > t.ID:
			return fmt.Errorf("the kernel gave it id %d", id)
		}
		if err := tracee.CallOK(r.Puppet, "delete a timer", unix.SYS_TIMER_DELETE, uint64(id)); err != nil {
			return err
		}
	}
}

// createTimer makes a timer. event is a struct sigevent, followed by the id.
func (r *Restorer) createTimer(clock int, event []byte) (id int, err error) {
	at := r.Puppet.Scratch().Addr
	if err := r.Puppet.Tracee().WriteMem(at, event); err != nil {
		return 0, err
	}
	if _, err := r.Puppet.Call(unix.SYS_TIMER_CREATE, uint64(clock), at, at+abi.SigeventBytes); err != nil {
		return 0, explainTimer(err)
	}
	var b [4]byte
	err = r.Puppet.Tracee().ReadMem(at+abi.SigeventBytes, b[:])
	return int(binary.LittleEndian.Uint32(b[:])), err
}

// explainTimer adds what an error of timer_create(2) means.
func explainTimer(err error) error {
	switch {
	case tracee.Errno(err) == unix.EAGAIN:
		return fmt.Errorf("its RLIMIT_SIGPENDING is used up by other processes of its user: %w", err)
	case errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL):
		return fmt.Errorf("this system lacks the clock, or the thread that is to get its signals is gone: %w", err)
	}
	return err
}

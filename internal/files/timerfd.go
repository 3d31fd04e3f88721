package files

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/kcmp"
	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// timerfdKind: timerfds. Only kcmp(2) can tell them apart. A relative one is saved
// with the time that is left, as all timers are; an absolute one with its deadline,
// because clocks go on while the program is not there.
var timerfdKind = Kind{
	Type: record.TypeTimerFD,
	Save: func(c *Collector) Saver {
		t := &timerSaver{c: c}
		return Saver{Look: t.look, Match: isTimerFD, Collect: t.collect}
	},
	Restore: func(r *Restorer) Maker {
		m := &timerMaker{Restorer: r}
		return Maker{Kind: object.Kind{Check: checkTimerFD, Here: m.here, Make: m.make}}
	},
}

func isTimerFD(s *Subject) bool { return isAnon(s, "[timerfd]") }

// expiryLatency is how long after its time a timer may still not be counted as
// expired: the interrupt may have to wait for a CPU.
const expiryLatency = 2 * time.Millisecond

type timerSaver struct {
	c      *Collector
	looked time.Time // when the last timerfd was looked at
}

func (t *timerSaver) look(s *Subject) {
	if isTimerFD(s) {
		t.looked = time.Now()
	}
}

func (t *timerSaver) collect(s *Subject) (uint64, error) {
	c := t.c
	if c.blockPath(s) {
		return 0, nil
	}
	first, err := s.Info.TimerFD()
	if err != nil {
		return 0, err
	}
	now, value, err := t.read(s, &first)
	if err != nil {
		return 0, err
	}
	rec := record.TimerFD{Object: record.Object{ID: c.NewID(), Genid: Genid(s.Stat.Dev, s.Stat.Ino, s.Info.Pos),
		Kcmp: &record.Kcmp{Type: int(kcmp.File), TID: s.PID, Idx: uint64(s.FD)}},
		Clock: now.Clock, Absolute: now.Flags&unix.TFD_TIMER_ABSTIME != 0, CancelOnSet: now.Flags&unix.TFD_TIMER_CANCEL_ON_SET != 0,
		ValueNS: value, IntervalNS: int64(now.Interval), Ticks: now.Ticks}
	if seesClockSet(&rec) && first.Ticks > 0 && first.Left > 0 {
		c.Block(s.PID, &clockWasSet{s.FD})
		return 0, nil
	}
	return rec.ID, c.Emit(record.TypeTimerFD, &rec)
}

// read returns the state of a timer, and what its record has as value. first is what
// was seen when the tree had just been stopped.
func (t *timerSaver) read(s *Subject, first *proc.TimerFD) (now proc.TimerFD, value int64, err error) {
	f, err := borrow(s)
	if err != nil {
		return now, 0, err
	}
	defer f.Close()
	ahead, err := clockAhead(s.PID, first.Clock)
	if err != nil {
		return now, 0, err
	}
	// Of an interval shorter than this takes nothing will ever be consistent.
	for range 10 {
		if now, err = readTimer(s); err != nil {
			return now, 0, err
		}
		if now.Left == 0 && (now.Interval == 0 || now.Ticks == 0) {
			return t.atRest(s, first)
		}
		deadline, err := expiry(f, now.Clock)
		if err != nil {
			return now, 0, err
		}
		again, err := readTimer(s)
		if err != nil {
			return now, 0, err
		}
		value = int64(again.Left)
		if now.Flags&unix.TFD_TIMER_ABSTIME != 0 {
			value = sum(deadline, ahead)
		}
		if again.Left > 0 && again.Ticks == now.Ticks {
			return again, value, nil
		}
	}
	return now, max(value, 1), nil
}

// atRest returns the state of a timer that is not armed, or has expired without an
// interval, or has expired and is not yet counted.
func (t *timerSaver) atRest(s *Subject, first *proc.TimerFD) (now proc.TimerFD, value int64, err error) {
	if now, err = readTimer(s); err != nil || now.Ticks > 0 {
		return now, 0, err
	}
	time.Sleep(expiryLatency - time.Since(t.looked))
	if now, err = readTimer(s); err == nil && now.Ticks == 0 && first.Left > 0 {
		now.Ticks = 1 // it was armed, and it is nobody who could disarm it
	}
	return now, 0, err
}

func readTimer(s *Subject) (proc.TimerFD, error) {
	info, err := proc.ReadFDInfo(s.PID, s.FD)
	if err != nil {
		return proc.TimerFD{}, err
	}
	return info.TimerFD()
}

// atOnce is how long reading a timer and its clock may take to count as simultaneous.
const atOnce = 20 * time.Microsecond

// expiry returns what a timer's clock will show when it expires. Asking makes one with
// an interval that has expired and waits to be read go on, as read(2) would, and count
// what it missed; without that nobody learns when it expires next.
func expiry(f *os.File, clock int) (deadline int64, err error) {
	took := time.Duration(math.MaxInt64)
	for try := 0; try < 10 && took > atOnce; try++ {
		var spec unix.ItimerSpec
		before := clockNow(clock)
		if err := unix.TimerfdGettime(int(f.Fd()), &spec); err != nil {
			return 0, os.NewSyscallError("timerfd_gettime", err)
		}
		after := clockNow(clock)
		if d := time.Duration(after - before); d < took {
			deadline, took = sum(after, spec.Value.Nano()), d
		}
	}
	return deadline, nil
}

// clockNow reads the clock of a timer in our time namespace. Those that wake the system
// show what their namesakes do.
func clockNow(clock int) int64 {
	switch clock {
	case unix.CLOCK_REALTIME_ALARM:
		clock = unix.CLOCK_REALTIME
	case unix.CLOCK_BOOTTIME_ALARM:
		clock = unix.CLOCK_BOOTTIME
	}
	var now unix.Timespec
	_ = unix.ClockGettime(int32(clock), &now) // every Linux has these clocks
	return now.Nano()
}

// sum is a + b, at most the latest time that the kernel knows, KTIME_MAX.
func sum(a, b int64) int64 {
	if b > 0 && a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// clockAhead returns by how much a clock is ahead, in nanoseconds, in the time
// namespace of a process, of what it shows in ours.
func clockAhead(pid, clock int) (int64, error) {
	var all [2]proc.TimeOffsets
	for i, p := range []int{pid, os.Getpid()} {
		var err error
		if all[i], err = proc.ReadTimeOffsets(p); err != nil && !errors.Is(err, fs.ErrNotExist) { // no CONFIG_TIME_NS
			return 0, err
		}
	}
	switch clock {
	case unix.CLOCK_MONOTONIC:
		return int64(all[0].Monotonic - all[1].Monotonic), nil
	case unix.CLOCK_BOOTTIME, unix.CLOCK_BOOTTIME_ALARM:
		return int64(all[0].Boottime - all[1].Boottime), nil
	}
	return 0, nil
}

// seesClockSet reports whether reading a timer fails with ECANCELED after its clock was
// set (timerfd_setup_cancel in fs/timerfd.c).
func seesClockSet(t *record.TimerFD) bool {
	return t.Absolute && t.CancelOnSet && (t.Clock == unix.CLOCK_REALTIME || t.Clock == unix.CLOCK_REALTIME_ALARM)
}

// clockWasSet: a timer that is readable before its time. Only a change of its clock can
// make it so again.
type clockWasSet struct{ fd int }

func (e *clockWasSet) Error() string {
	return fmt.Sprintf("fd %d is a timerfd that has been canceled because the clock was set, which the program has not seen yet; that can't be saved", e.fd)
}

func (e *clockWasSet) Hint() string { return "save it again when it has read from it" }

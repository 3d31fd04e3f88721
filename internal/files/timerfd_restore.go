package files

import (
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

func checkTimerFD(rec *stream.Record) []error {
	t, err := decode[record.TimerFD](rec)
	if err != nil {
		return []error{err}
	}
	switch t.Clock {
	case unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME, unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM:
	default:
		return []error{fmt.Errorf("%w: timerfd on clock %d", stream.ErrCorrupt, t.Clock)}
	}
	if t.ValueNS < 0 || t.IntervalNS < 0 {
		return []error{fmt.Errorf("%w: timerfd with negative times", stream.ErrCorrupt)}
	}
	return nil
}

// timerMaker is the kind in one restart.
type timerMaker struct {
	*Restorer
	noted bool // that some don't see that the clock was set
}

func (m *timerMaker) here(rec *stream.Record) []error {
	t, err := decode[record.TimerFD](rec)
	if err != nil || t.Clock != unix.CLOCK_REALTIME_ALARM && t.Clock != unix.CLOCK_BOOTTIME_ALARM {
		return nil
	}
	return m.Own.Need(caps.Of(unix.CAP_WAKE_ALARM), "a timerfd", "make %s that wakes the system")
}

func (m *timerMaker) make(rec *stream.Record) (object.Object, error) {
	t, err := decode[record.TimerFD](rec)
	if err != nil {
		return nil, err
	}
	fd, err := unix.TimerfdCreate(t.Clock, unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timerfd on clock %d: %w", t.Clock, err)
	}
	s, err := m.newSingle(fd, "a timerfd")
	if err != nil {
		return nil, err
	}
	return &timer{single: s, m: m, rec: t}, nil
}

// timer is a restored timerfd.
type timer struct {
	*single
	m   *timerMaker
	rec *record.TimerFD
}

// Commit starts it when all else is done, so that it does not go off before.
func (t *timer) Commit() error {
	fd, err := t.f.Fd()
	if err != nil {
		return err
	}
	spec, flags, err := t.setting()
	if err != nil {
		return err
	}
	for range 3 { // the clock may be set meanwhile
		if err = t.start(fd, flags, spec); err != unix.ECANCELED {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("start a timerfd on clock %d: %w", t.rec.Clock, err)
	}
	t.m.noteClockSet(t.rec)
	return nil
}

// setting is what timerfd_settime(2) is told. An absolute time is that of our time
// namespace.
func (t *timer) setting() (*unix.ItimerSpec, int, error) {
	value, flags := t.rec.ValueNS, 0
	if t.rec.CancelOnSet {
		flags |= unix.TFD_TIMER_CANCEL_ON_SET
	}
	if t.rec.Absolute {
		flags |= unix.TFD_TIMER_ABSTIME
	}
	if t.rec.Absolute && value > 0 {
		ahead, err := clockAhead(t.m.Root, t.rec.Clock)
		if err != nil {
			return nil, 0, err
		}
		value = max(sum(value, -ahead), 1)
	}
	return &unix.ItimerSpec{Interval: unix.NsecToTimespec(t.rec.IntervalNS), Value: unix.NsecToTimespec(value)}, flags, nil
}

// start starts the timer, with the expirations that nobody has read. One that comes
// before these are there would be lost with them.
func (t *timer) start(fd, flags int, spec *unix.ItimerSpec) error {
	if err := unix.TimerfdSettime(fd, flags, spec, nil); err != nil || t.rec.Ticks == 0 {
		return err
	}
	if err := sys.SetTimerTicks(fd, t.rec.Ticks); err != nil {
		return err
	}
	info, err := proc.ReadFDInfo(os.Getpid(), fd)
	if err != nil {
		return err
	}
	now, err := info.TimerFD()
	if err != nil || t.rec.ValueNS == 0 || now.Left > 0 || now.Ticks > t.rec.Ticks {
		return err
	}
	return sys.SetTimerTicks(fd, t.rec.Ticks+1)
}

// clockSet is by how much the time of day may move against a clock that counts from boot
// before it counts as set.
const clockSet = time.Millisecond

// noteClockSet tells, once, if a timer does not see that the clock was set while the
// program was not there: nothing but setting it again could tell it.
func (m *timerMaker) noteClockSet(t *record.TimerFD) {
	if m.noted || m.Clocks == nil || t.ValueNS == 0 || !seesClockSet(t) {
		return
	}
	ahead, err := clockAhead(m.Root, unix.CLOCK_MONOTONIC)
	if err != nil {
		return
	}
	was := m.Clocks.Realtime - m.Clocks.Monotonic
	if d := time.Duration(sinceBoot() - ahead - was); d.Abs() > clockSet {
		m.noted = true
		m.Note("the time of day moved by %v against the program's other clocks while it was not there; its timerfds that end when the clock is set (TFD_TIMER_CANCEL_ON_SET) do not tell it", d.Round(clockSet))
	}
}

// sinceBoot returns by how much the time of day is ahead of the monotonic clock.
func sinceBoot() (ahead int64) {
	took := time.Duration(math.MaxInt64)
	for try := 0; try < 10 && took > atOnce; try++ {
		before, now, after := clockNow(unix.CLOCK_MONOTONIC), clockNow(unix.CLOCK_REALTIME), clockNow(unix.CLOCK_MONOTONIC)
		if d := time.Duration(after - before); d < took {
			ahead, took = now-after, d
		}
	}
	return ahead
}

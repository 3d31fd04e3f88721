package files

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

func timerRecord(t *testing.T, rec *record.TimerFD) *stream.Record {
	t.Helper()
	rec.Objref = 1
	r, err := stream.New(record.TypeTimerFD, rec)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// startedTimer makes a timer and starts it.
func startedTimer(t *testing.T, rec *record.TimerFD) proc.TimerFD {
	t.Helper()
	m := &timerMaker{Restorer: fuzzed(t, true)}
	m.Root = os.Getpid()
	obj, err := m.make(timerRecord(t, rec))
	if err != nil {
		t.Fatal(err)
	}
	defer obj.Close()
	if err := obj.Commit(); err != nil {
		t.Fatal(err)
	}
	f, err := obj.Open(unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := proc.ReadFDInfo(os.Getpid(), int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	now, err := info.TimerFD()
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// TestTimerFD: a timer that is started has the time and the expirations of its record,
// also if it expires before they are set.
func TestTimerFD(t *testing.T) {
	hour := int64(time.Hour)
	for _, c := range []struct {
		rec record.TimerFD
		min proc.TimerFD // what it has at least
		max time.Duration
	}{
		{record.TimerFD{Clock: unix.CLOCK_BOOTTIME}, proc.TimerFD{}, 0},
		{record.TimerFD{ValueNS: hour, IntervalNS: 7}, proc.TimerFD{Left: time.Hour / 2, Interval: 7}, time.Hour},
		{record.TimerFD{ValueNS: hour, IntervalNS: hour, Ticks: 9}, proc.TimerFD{Left: time.Hour / 2, Interval: time.Hour, Ticks: 9}, time.Hour},
		{record.TimerFD{Absolute: true, CancelOnSet: true, ValueNS: clockNow(unix.CLOCK_REALTIME) + hour}, proc.TimerFD{Left: time.Hour / 2, Flags: 3}, time.Hour},
		{record.TimerFD{Absolute: true, ValueNS: 1<<63 - 1}, proc.TimerFD{Left: time.Hour, Flags: 1}, 1<<63 - 1},
		{record.TimerFD{ValueNS: 1, Ticks: 9}, proc.TimerFD{Ticks: 10}, 0},
		{record.TimerFD{Absolute: true, ValueNS: 1, IntervalNS: hour, Ticks: 9}, proc.TimerFD{Ticks: 10, Interval: time.Hour, Flags: 1}, 0},
		{record.TimerFD{Ticks: 1<<64 - 1}, proc.TimerFD{Ticks: 1<<64 - 1}, 0},
	} {
		for range 20 {
			now := startedTimer(t, &c.rec)
			if now.Left < c.min.Left || now.Left > c.max {
				t.Errorf("%+v: %v left", c.rec, now.Left)
			}
			now.Left, now.Clock = c.min.Left, c.min.Clock
			if now != c.min {
				t.Errorf("%+v: %+v, want %+v", c.rec, now, c.min)
			}
		}
	}
}

func TestCheckTimerFD(t *testing.T) {
	for _, c := range []struct {
		rec  record.TimerFD
		good bool
	}{
		{record.TimerFD{Clock: unix.CLOCK_BOOTTIME_ALARM, ValueNS: 1<<63 - 1, IntervalNS: 1<<63 - 1, Ticks: 1<<64 - 1}, true},
		{record.TimerFD{Clock: unix.CLOCK_PROCESS_CPUTIME_ID}, false},
		{record.TimerFD{Clock: -6}, false},
		{record.TimerFD{ValueNS: -1}, false},
		{record.TimerFD{IntervalNS: -1}, false},
	} {
		if errs := checkTimerFD(timerRecord(t, &c.rec)); (len(errs) == 0) != c.good || !c.good && !errors.Is(errs[0], stream.ErrCorrupt) {
			t.Errorf("%+v: %v", c.rec, errs)
		}
	}
}

// TestTimerFDHere: only clocks that wake the system take a capability.
func TestTimerFDHere(t *testing.T) {
	for clock, takes := range map[int]caps.Set{unix.CLOCK_MONOTONIC: 0, unix.CLOCK_REALTIME_ALARM: caps.Of(unix.CAP_WAKE_ALARM), unix.CLOCK_BOOTTIME_ALARM: caps.Of(unix.CAP_WAKE_ALARM)} {
		for _, has := range []caps.Set{0, takes} {
			m := &timerMaker{Restorer: &Restorer{Restart: &object.Restart{Own: &caps.Process{Status: proc.Status{CapEff: uint64(has)}}}}}
			errs := m.here(timerRecord(t, &record.TimerFD{Clock: clock}))
			var lacks *caps.Missing
			if (len(errs) == 0) != (has == takes) || len(errs) > 0 && (!errors.As(errs[0], &lacks) || lacks.Set != takes) {
				t.Errorf("clock %d with %v: %v", clock, has, errs)
			}
		}
	}
}

// TestClockSet: who restores is told, once, if the clock was set while a program that
// asked to see that was not there, and not otherwise.
func TestClockSet(t *testing.T) {
	see := &record.TimerFD{Absolute: true, CancelOnSet: true, ValueNS: 5}
	for by, want := range map[time.Duration]int{0: 0, 10 * time.Second: 1, -10 * time.Second: 1} {
		notes := 0
		m := &timerMaker{Restorer: &Restorer{Restart: &object.Restart{Note: func(string, ...any) { notes++ }}, Root: os.Getpid()}}
		m.noteClockSet(see)
		m.Clocks = &record.Clocks{Realtime: sinceBoot() + int64(by)}
		m.noteClockSet(&record.TimerFD{Absolute: true, ValueNS: 5})
		m.noteClockSet(see)
		m.noteClockSet(see)
		if notes != want {
			t.Errorf("set by %v: %d notes, want %d", by, notes, want)
		}
	}
}

// TestSum: no sum of times exceeds the latest that the kernel knows.
func TestSum(t *testing.T) {
	const most = 1<<63 - 1
	for _, c := range [][3]int64{{1, 2, 3}, {most, 1, most}, {most, most, most}, {most, -1, most - 1}, {5, -7, -2}, {-5, most, most - 5}} {
		if got := sum(c[0], c[1]); got != c[2] {
			t.Errorf("%d + %d = %d, want %d", c[0], c[1], got, c[2])
		}
	}
}

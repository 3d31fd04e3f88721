package proc

import (
	"errors"
	"testing"
	"time"
)

func TestTimerFD(t *testing.T) {
	f, err := ParseFDInfo(fixture(t, "fdinfo-timerfd"))
	if err != nil {
		t.Fatal(err)
	}
	timer, err := f.TimerFD()
	equal(t, "error", err, nil)
	equal(t, "timer", timer, TimerFD{Clock: 1, Left: 99*time.Second + 999964537, Interval: time.Second})

	all := func(clock, ticks, flags, value, interval string) []Field {
		return []Field{{"clockid", clock}, {"ticks", ticks}, {"settime flags", flags}, {"it_value", value}, {"it_interval", interval}}
	}
	for _, c := range []struct {
		extra []Field
		want  TimerFD
		err   error
	}{
		{all("7", "18446744073709551615", "03", "(9223372036, 854775807)", "(0, 1)"),
			TimerFD{Clock: 7, Ticks: 1<<64 - 1, Flags: 3, Left: 1<<63 - 1, Interval: 1}, nil},
		{all("0", "0", "00", "(9223372036, 854775808)", "(0, 0)"), TimerFD{}, ErrFormat},
		{all("0", "0", "00", "(9223372037, 0)", "(0, 0)"), TimerFD{}, ErrFormat},
		{all("0", "0", "00", "(18446744073709551615, 0)", "(0, 0)"), TimerFD{}, ErrFormat},
		{all("0", "0", "00", "(0, 1000000000)", "(0, 0)"), TimerFD{}, ErrFormat},
		{all("0", "0", "00", "(-1, 0)", "(0, 0)"), TimerFD{}, ErrFormat},
		{all("0", "0", "00", "0, 0", "(0, 0)"), TimerFD{}, ErrFormat},
		{all("x", "0", "00", "(0, 0)", "(0, 0)"), TimerFD{}, ErrFormat},
		{all("0", "0", "8", "(0, 0)", "(0, 0)"), TimerFD{}, ErrFormat},
		{all("0", "0", "0", "(0, 0)", "(0, 0)")[:4], TimerFD{}, ErrFormat},
	} {
		f := FDInfo{Extra: c.extra}
		if got, err := f.TimerFD(); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%v: %+v %v, want %+v %v", c.extra, got, err, c.want, c.err)
		}
	}
}

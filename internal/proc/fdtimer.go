package proc

import (
	"fmt"
	"strings"
	"time"
)

// TimerFD is what fdinfo says of a timerfd (fs/timerfd.c).
type TimerFD struct {
	Clock    int           // CLOCK_REALTIME and so on
	Ticks    uint64        // expirations that nobody has read
	Flags    uint32        // TFD_TIMER_ABSTIME and TFD_TIMER_CANCEL_ON_SET
	Left     time.Duration // until it expires; 0 if it is not armed or has expired
	Interval time.Duration
}

// TimerFD returns the lines of a timerfd.
func (f *FDInfo) TimerFD() (t TimerFD, err error) {
	for _, line := range []struct {
		key string
		set func(value string) bool
	}{
		{"clockid", func(v string) bool { return setInt(&t.Clock, v) }},
		{"ticks", func(v string) bool { return setUint(&t.Ticks, v, 10) }},
		{"settime flags", func(v string) bool { return setUint(&t.Flags, v, 8) }},
		{"it_value", func(v string) bool { return setTimespec(&t.Left, v) }},
		{"it_interval", func(v string) bool { return setTimespec(&t.Interval, v) }},
	} {
		if value, ok := f.Get(line.key); !ok || !line.set(value) {
			return TimerFD{}, fmt.Errorf("fdinfo of a timerfd, %s %q: %w", line.key, value, ErrFormat)
		}
	}
	return t, nil
}

// setTimespec parses "(99, 999964537)", seconds and nanoseconds, up to the most that
// the kernel's clocks can show, KTIME_MAX.
func setTimespec(d *time.Duration, text string) bool {
	inner, ok := strings.CutPrefix(text, "(")
	inner, closed := strings.CutSuffix(inner, ")")
	first, second, two := strings.Cut(inner, ", ")
	var sec, ns uint64
	if !ok || !closed || !two || !setUint(&sec, first, 10) || !setUint(&ns, second, 10) || ns >= 1e9 || sec > 1<<63/1_000_000_000 {
		return false
	}
	all := sec*1e9 + ns
	*d = time.Duration(all)
	return all < 1<<63
}

package proc

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

// TimeOffsets is what a time namespace adds to the clocks of the first one, see
// time_namespaces(7).
type TimeOffsets struct{ Monotonic, Boottime time.Duration }

// ReadTimeOffsets reads those of the time namespace that a process's children
// are born in. The file is missing without CONFIG_TIME_NS.
func ReadTimeOffsets(pid int) (TimeOffsets, error) {
	return readParsed(pid, Path(pid, "timens_offsets"), ParseTimeOffsets)
}

// ParseTimeOffsets parses the text of a timens_offsets file: a clock's name,
// seconds, and nanoseconds, which are added to negative seconds, too.
func ParseTimeOffsets(b []byte) (o TimeOffsets, err error) {
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		var sec, ns int
		if len(f) != 3 || !setInt(&sec, f[1]) || !setInt(&ns, f[2]) {
			return o, malformed("timens_offsets line", line)
		}
		const most = 1<<63/1_000_000_000 - 1 // KTIME_SEC_MAX
		if sec < -most || sec > most || ns < 0 || ns >= 1_000_000_000 {
			return o, malformed("timens_offsets line", line)
		}
		d := time.Duration(sec)*time.Second + time.Duration(ns)
		switch f[0] {
		case "monotonic":
			o.Monotonic = d
		case "boottime":
			o.Boottime = d
		}
	}
	return o, nil
}

// WriteTimeOffsets sets the offsets of the time namespace that a process has
// made for its children. It can be done until the first is born.
func WriteTimeOffsets(pid int, o TimeOffsets) error {
	text := offsetLine("monotonic", o.Monotonic) + offsetLine("boottime", o.Boottime)
	return os.WriteFile(Path(pid, "timens_offsets"), []byte(text), 0)
}

func offsetLine(clock string, d time.Duration) string {
	sec, ns := d/time.Second, d%time.Second
	if ns < 0 {
		sec, ns = sec-1, ns+time.Second
	}
	return fmt.Sprintf("%s %d %d\n", clock, int64(sec), int64(ns))
}

package proc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Timer is a POSIX timer as /proc/PID/timers shows it (fs/proc/base.c
// show_timer). Its times are not there: timer_gettime(2) has them.
type Timer struct {
	ID      int
	Signal  int
	Value   uint64 // sigev_value
	Notify  string // as written, "signal/pid.2634"
	Mode    string // "signal", "none" or "thread", SIGEV_*
	Thread  bool   // SIGEV_THREAD_ID
	Target  int    // process, or thread if Thread; 0 if it is gone
	ClockID int    // negative for a CPU clock, see clock_getcpuclockid(3)
}

// ReadTimers lists the POSIX timers of a process, for which the kernel needs
// CONFIG_CHECKPOINT_RESTORE.
func ReadTimers(pid int) ([]Timer, error) {
	return readParsed(pid, Path(pid, "timers"), ParseTimers)
}

// ParseTimers parses the text of a timers file: for each timer the lines ID,
// signal, notify and ClockID. Lines it does not know are skipped.
func ParseTimers(b []byte) ([]Timer, error) {
	var all []Timer
	for line := range bytes.SplitSeq(b, []byte{'\n'}) {
		key, value, ok := strings.Cut(string(line), ":")
		if !ok {
			continue
		}
		if key == "ID" {
			all = append(all, Timer{})
		}
		if len(all) == 0 || !all[len(all)-1].set(key, strings.TrimSpace(value)) {
			return nil, malformed("timers line", line)
		}
	}
	for _, t := range all {
		if t.Notify == "" {
			return nil, fmt.Errorf("timer %d has no notify line: %w", t.ID, ErrFormat)
		}
	}
	return all, nil
}

func (t *Timer) set(key, value string) bool {
	switch key {
	case "ID":
		return setInt(&t.ID, value)
	case "signal":
		sig, ptr, ok := strings.Cut(value, "/")
		return ok && setInt(&t.Signal, sig) && setUint(&t.Value, ptr, 16)
	case "notify":
		return t.setNotify(value)
	case "ClockID":
		return setInt(&t.ClockID, value)
	}
	return true
}

// setNotify takes "signal/tid.2634".
func (t *Timer) setNotify(value string) bool {
	mode, whom, ok := strings.Cut(value, "/")
	kind, id, dot := strings.Cut(whom, ".")
	n, err := strconv.Atoi(id)
	t.Notify, t.Mode, t.Thread, t.Target = value, mode, kind == "tid", n
	return ok && dot && err == nil && (kind == "tid" || kind == "pid")
}

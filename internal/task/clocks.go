package task

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Clocks don't belong to a thread but to the time namespace of the tree. What they
// showed is in the stream's header, and a tree restored on another boot gets a
// time namespace in which they continue from there.

// atOnce is how long reading all clocks may take to count as simultaneous.
const atOnce = 20 * time.Microsecond

// readClocks reads the clocks as this process sees them. If it was preempted in
// between, it reads them again.
func readClocks() record.Clocks {
	var best record.Clocks
	took := time.Duration(1<<63 - 1)
	for try := 0; try < 100 && took > atOnce; try++ {
		before := clock(unix.CLOCK_MONOTONIC)
		c := record.Clocks{Boottime: clock(unix.CLOCK_BOOTTIME), Realtime: clock(unix.CLOCK_REALTIME)}
		after := clock(unix.CLOCK_MONOTONIC)
		if d := time.Duration(after - before); d < took {
			c.Monotonic = before + (after-before)/2
			best, took = c, d
		}
	}
	return best
}

func clock(id int32) int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(id, &ts) // every Linux has these clocks
	return ts.Nano()
}

// ReadClocksOf reads the clocks as a process sees them.
func ReadClocksOf(pid int) (*record.Clocks, error) {
	own, err := OwnTimeOffsets()
	if err != nil {
		return nil, err
	}
	its, err := proc.ReadTimeOffsets(pid)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	c := readClocks()
	c.Monotonic += int64(its.Monotonic - own.Monotonic)
	c.Boottime += int64(its.Boottime - own.Boottime)
	c.MonotonicOffset, c.BoottimeOffset = int64(its.Monotonic), int64(its.Boottime)
	return &c, nil
}

// OwnTimeOffsets returns the offsets of this process's time namespace; zero without
// CONFIG_TIME_NS.
func OwnTimeOffsets() (proc.TimeOffsets, error) {
	own, err := proc.ReadTimeOffsets(os.Getpid())
	if errors.Is(err, fs.ErrNotExist) {
		return own, nil
	}
	return own, err
}

// maxClock is the most that a clock in a time namespace may show, about half of
// KTIME_MAX, see proc_timens_set_offset in kernel/time/namespace.c.
const maxClock = 1 << 62

// CheckClocks returns an error for clocks of a stream that are impossible.
func CheckClocks(c *record.Clocks) (errs []error) {
	for _, v := range []int64{c.Monotonic, c.Boottime} {
		if v < 0 || v >= maxClock {
			errs = append(errs, fmt.Errorf("%w: a clock that shows %d ns", stream.ErrCorrupt, v))
		}
	}
	for _, v := range []int64{c.MonotonicOffset, c.BoottimeOffset} {
		if v <= -maxClock || v >= maxClock {
			errs = append(errs, fmt.Errorf("%w: a clock that is %d ns ahead", stream.ErrCorrupt, v))
		}
	}
	return errs
}

// OffsetsToGoOn returns the offsets of a time namespace in which the clocks
// continue from what they showed.
func OffsetsToGoOn(from *record.Clocks) (proc.TimeOffsets, error) {
	own, err := OwnTimeOffsets()
	now := readClocks()
	return proc.TimeOffsets{
		Monotonic: time.Duration(from.Monotonic-now.Monotonic) + own.Monotonic,
		Boottime:  time.Duration(from.Boottime-now.Boottime) + own.Boottime,
	}, err
}

package collect

import (
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// schedClocks are the clocks by which the scheduler notes when a thread last ran. Each
// CPU has one, without the time in which interrupts or a hypervisor had that CPU, so they
// come to differ by seconds.
type schedClocks struct {
	offsets map[int]clockOffset // by CPU
}

// clockOffset is by how much the monotonic clock is ahead of a CPU's.
type clockOffset struct {
	time.Duration
	known bool
}

// maxMeasure is how long a CPU may take to tell its clock. A real-time thread may have it.
const maxMeasure = 50 * time.Millisecond

// lastRun is when a thread last ran.
type lastRun struct {
	at    time.Duration // of the look, by the monotonic clock
	ran   time.Duration // by the clock of cpu
	cpu   int
	known bool
}

func readLastRun(pid, tid int) lastRun {
	l := lastRun{at: monotonic()}
	var err error
	if l.ran, err = proc.ReadExecStart(pid, tid); err != nil || l.ran == 0 {
		return l
	}
	stat, err := proc.ReadThreadStat(pid, tid)
	l.cpu, l.known = stat.CPU, err == nil
	return l
}

// since returns how long a thread has not run, 0 if the kernel does not tell: then waits
// get too long, never too short.
func (c *schedClocks) since(l lastRun) time.Duration {
	if !l.known {
		return 0
	}
	offset := c.offset(l.cpu)
	if !offset.known {
		return 0
	}
	return max(0, l.at-offset.Duration-l.ran)
}

// offset measures that of a CPU once.
func (c *schedClocks) offset(cpu int) (offset clockOffset) {
	if offset, measured := c.offsets[cpu]; measured {
		return offset
	}
	measured := make(chan clockOffset, measures)
	go measureClock(cpu, measured)
	over := time.After(maxMeasure)
	for more := true; more; {
		select {
		case better, ok := <-measured:
			if more = ok; ok {
				offset = better
			}
		case <-over: // what was measured so far is good, if less exact
			more = false
		}
	}
	if c.offsets == nil {
		c.offsets = map[int]clockOffset{}
	}
	c.offsets[cpu] = offset
	return offset
}

// measures is how often a CPU's clock is measured.
const measures = 3

// measureClock compares the two clocks on a CPU: after a sleep, this thread has been
// running only since a moment ago. The time until the monotonic clock is read makes the
// difference too large, so that waits get too long; the smallest so far is sent each time.
func measureClock(cpu int, measured chan<- clockOffset) {
	defer close(measured)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	one.Set(cpu)
	if unix.SchedGetaffinity(0, &before) != nil || unix.SchedSetaffinity(0, &one) != nil {
		return
	}
	defer func() { _ = unix.SchedSetaffinity(0, &before) }()
	var least clockOffset
	for range measures {
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 1}, nil)
		ran, err := proc.ReadExecStart(os.Getpid(), unix.Gettid())
		if err != nil {
			return
		}
		if offset := monotonic() - ran; !least.known || offset < least.Duration {
			least = clockOffset{offset, true}
		}
		measured <- least
	}
}

func monotonic() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // can't fail
	return time.Duration(ts.Nano())
}

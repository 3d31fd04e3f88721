package collect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/hold"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/internal/task"
)

const (
	watchTick = 100 * time.Millisecond
	// watchGrace is how long the collector has to let the target go by itself
	// before the watchdog ends it, and the watchdog before the kernel does.
	watchGrace = time.Second
	// sinkNote is how long the target stands still for a sink without a word.
	sinkNote = 2 * time.Second
)

// phase is what the collector is at.
type phase int32

const (
	phaseStop  phase = iota // stopping the target
	phaseLook               // finding out about it
	phaseSend               // writing the stream
	phaseWait               // waiting for the holders
	phaseLetGo              // giving it back
)

// watchdog sees to it, on an OS thread of its own, that the target does not
// stand still for ever, whatever the collector waits for. When nothing moves any
// more, or the time is up, it asks the collector to let the target go; if that
// is stuck in a system call, it ends the program: the kernel frees the tracees,
// and who was on loan walks home. If even that is too late, for all of us were
// stopped, a timer of the kernel does it.
type watchdog struct {
	o      *Options
	out    *os.File
	cancel context.CancelCauseFunc
	name   string // of the target
	tracer int    // the thread that holds it
	began  time.Time
	timer  *sys.KillTimer

	phase atomic.Int32
	at    atomic.Int64 // process id and descriptor looked at, see look
	hold  atomic.Pointer[hold.Hold]

	mu      sync.Mutex // while the program is being ended
	stopped atomic.Bool
	asked   time.Time // when the collector was asked to let go
	noted   bool
}

// watch begins to watch the calling thread, which is about to stop the target.
func watch(o *Options, out *os.File, cancel context.CancelCauseFunc) *watchdog {
	d := &watchdog{o: o, out: out, cancel: cancel, tracer: unix.Gettid(), began: time.Now()}
	d.name = proc.Named(o.PID)
	if o.Stall > 0 || o.MaxFreeze > 0 {
		var err error
		if d.timer, err = sys.NewKillTimer(); err != nil {
			o.Step("no timer ends ckpt-collect if it is stopped: %v", err)
		}
	}
	d.arm(0)
	go d.run()
	return d
}

// stop ends the watch: the target is let go.
func (d *watchdog) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped.Swap(true) {
		return
	}
	_ = d.timer.Close()
	d.timer = nil
}

func (d *watchdog) enter(p phase) { d.phase.Store(int32(p)) }

// look notes which process is looked at, and which descriptor of it, or -1.
func (d *watchdog) look(pid, fd int) { d.at.Store(int64(pid)<<32 | int64(uint32(fd+1))) }

func (d *watchdog) run() {
	runtime.LockOSThread()
	var last sign
	since := d.began
	for {
		ts := unix.NsecToTimespec(int64(watchTick))
		_ = unix.Nanosleep(&ts, nil)
		if d.stopped.Load() {
			return
		}
		now := time.Now()
		if s, idle := d.sign(); idle || s != last {
			last, since = s, now
		}
		d.judge(now.Sub(since), now)
	}
}

// sign is what changes while things go on: what the tracer's thread did, and
// the lines of all holders, see hold.Signs.
type sign struct {
	activity string
	rounds   int
}

// sign looks for signs of life. Idle: there is nobody to be waited for but for
// a time that is limited anyway.
func (d *watchdog) sign() (s sign, idle bool) {
	held := false
	if h := d.hold.Load(); h != nil {
		s.rounds, held = h.Signs()
	}
	if phase(d.phase.Load()) == phaseWait { // its own looking for the holders counts for nothing
		return s, !held
	}
	s.activity, _ = proc.Activity(os.Getpid(), d.tracer)
	return s, false
}

// judge acts when the target has stood still for too long; silent is how long
// nothing has moved.
func (d *watchdog) judge(silent time.Duration, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	stood := now.Sub(d.began)
	switch {
	case d.stopped.Load():
		return
	case !d.asked.IsZero():
		if now.Sub(d.asked) > watchGrace {
			d.o.Die(d.why(silent, stood))
		}
		return
	case d.o.Stall > 0 && silent >= d.o.Stall, d.o.MaxFreeze > 0 && stood >= d.o.MaxFreeze:
		d.asked = now
		d.cancel(d.why(silent, stood))
		return
	case stood > sinkNote && !d.noted && d.forSink():
		d.noted = true
		go d.o.Note("%s has been standing still for %v: waiting for %s", d.name, sinkNote, d.waitsFor())
	}
	d.arm(stood)
}

// arm sets the kernel's timer anew: it goes off when the watchdog should have
// acted, and did not.
func (d *watchdog) arm(stood time.Duration) {
	left := d.o.Stall
	if d.o.MaxFreeze > 0 && (left == 0 || d.o.MaxFreeze-stood < left) {
		left = max(0, d.o.MaxFreeze-stood) + watchTick
	}
	if left > 0 {
		_ = d.timer.Arm(left + 3*watchGrace)
	}
}

// forSink reports whether the target stands still because of who is behind.
func (d *watchdog) forSink() bool {
	switch phase(d.phase.Load()) {
	case phaseSend:
		return !d.writable()
	case phaseWait:
		return true
	}
	return false
}

func (d *watchdog) writable() bool {
	conn, err := d.out.SyscallConn()
	if err != nil {
		return true
	}
	n := 1
	_ = conn.Control(func(fd uintptr) {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 0)
	})
	return err != nil || n != 0
}

// waitsFor says what the collector is waiting for.
func (d *watchdog) waitsFor() string {
	at := d.at.Load()
	pid, fd := int(at>>32), int(uint32(at))-1
	comm, _ := proc.ReadComm(pid, pid)
	switch phase(d.phase.Load()) {
	case phaseStop:
		return "it and its children to stop"
	case phaseLook:
		if fd >= 0 {
			target, _ := proc.FDLink(pid, fd)
			return fmt.Sprintf("a look at fd %d (%s) of pid %d (%s)", fd, target, pid, comm)
		}
		return fmt.Sprintf("a look at pid %d (%s)", pid, comm)
	case phaseSend:
		if !d.writable() {
			return "standard output to be read"
		}
		return "its memory and contents to be sent"
	case phaseWait:
		var holders []string
		if h := d.hold.Load(); h != nil {
			holders = h.Holders()
		}
		if len(holders) > 0 {
			return strings.Join(holders, " and ")
		}
		return "a filter to take the hold"
	}
	return "it to be let go"
}

// why is the error for which the target is let go.
func (d *watchdog) why(silent, stood time.Duration) error {
	if d.o.MaxFreeze > 0 && stood >= d.o.MaxFreeze {
		return &StallError{fmt.Sprintf("%s runs on: it stood still for %v, the longest that was allowed, and was still waiting for %s",
			d.name, d.o.MaxFreeze, d.waitsFor()), "allow more with --max-freeze"}
	}
	hint, what := "allow more with --stall-timeout", d.waitsFor()
	var frozen *task.FrozenError
	if pid := int(d.at.Load() >> 32); pid > 0 && errors.As(new(task.Frozen).Check(pid), &frozen) {
		hint, what = frozen.Hint(), fmt.Sprintf("%s, which %v", what, frozen)
	}
	return &StallError{fmt.Sprintf("%s runs on: nothing has moved for %v while it stood still, waiting for %s",
		d.name, silent.Round(watchTick), what), hint}
}

// StallError: the target was let go, for it had stood still for too long.
type StallError struct{ text, hint string }

func (e *StallError) Error() string { return e.text }
func (e *StallError) Hint() string  { return e.hint }

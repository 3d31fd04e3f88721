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
	// watchGrace is how long the collector has to let the target go before the
	// watchdog ends the program, and how long the watchdog has before the kernel does.
	watchGrace = time.Second
	// sinkNote is how long the target is frozen because of a sink until the user is
	// told.
	sinkNote = 2 * time.Second
)

// phase says what the collector is doing.
type phase int32

const (
	phaseStop  phase = iota // stopping the target
	phaseLook               // finding out about it
	phaseSend               // writing the stream
	phaseWait               // waiting for the holders
	phaseLetGo              // giving it back
)

// watchdog makes sure, on an OS thread of its own, that the target is not frozen for
// ever, whatever the collector waits for. If there is no progress, or the time is up, it
// asks the collector to let the target go. If the collector is stuck in a system call, it
// ends the program: the kernel detaches the tracees, and a thread on loan walks home. If
// our whole process was stopped, so that even the watchdog does not run, a timer of the
// kernel ends it.
type watchdog struct {
	o      *Options
	out    *os.File
	cancel context.CancelCauseFunc
	name   string // of the target
	tracer int    // the thread that traces it
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

// stop ends the watch, because the target is let go.
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
		ts := unix.NsecToTimespec(int64(d.pause(time.Since(d.began))))
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

// pause is how long to wait before looking again: no longer than until the target
// has stood still for as long as it may.
func (d *watchdog) pause(stood time.Duration) time.Duration {
	if d.o.MaxFreeze == 0 || !d.asked.IsZero() {
		return watchTick
	}
	return min(watchTick, max(0, d.o.MaxFreeze-stood))
}

// sign is what changes as long as there is progress: what the tracing thread did, and the
// lines of all holders, see hold.Signs.
type sign struct {
	activity string
	rounds   int
}

// sign looks for signs of progress. idle: nothing is waited for, except for a time that is
// limited anyway.
func (d *watchdog) sign() (s sign, idle bool) {
	held := false
	if h := d.hold.Load(); h != nil {
		s.rounds, held = h.Signs()
	}
	if phase(d.phase.Load()) == phaseWait { // that the tracing thread polls for holders is no progress
		return s, !held
	}
	s.activity, _ = proc.Activity(os.Getpid(), d.tracer)
	return s, false
}

// judge acts if the target was frozen for too long. silent is how long there was no
// progress.
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

// arm sets the kernel's timer again. It expires when the watchdog should have acted and
// did not.
func (d *watchdog) arm(stood time.Duration) {
	left := d.o.Stall
	if d.o.MaxFreeze > 0 && (left == 0 || d.o.MaxFreeze-stood < left) {
		left = max(0, d.o.MaxFreeze-stood) + watchTick
	}
	if left > 0 {
		_ = d.timer.Arm(left + 3*watchGrace)
	}
}

// forSink reports whether the target is frozen because of the filters behind us.
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

// waitsFor says, for a message, what the collector is waiting for.
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

// why returns the reason for letting the target go.
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

// StallError: the target was let go because it was frozen for too long.
type StallError struct{ text, hint string }

func (e *StallError) Error() string { return e.text }
func (e *StallError) Hint() string  { return e.hint }

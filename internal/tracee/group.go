package tracee

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// ErrChanged: another thread of the process has run a program by execve(2), and what was
// known about the process is no longer right.
var ErrChanged = errors.New("it ran another program while it was being stopped")

// Group is the threads of other processes that one OS thread traces. While the group grows,
// they may start threads and processes, end, and run programs.
//
// PTRACE_SEIZE of a thread whose process is in execve(2) waits in the kernel until that is
// done, and execve waits until all other threads are reaped, by their tracer if they have
// one: by us. Another thread of ours does that while attaching takes long; everything else
// is done by the thread that holds the group.
type Group struct {
	limit time.Duration
	stuck func(pid, tid int)
	mu    sync.Mutex // for both threads
	held  map[int]*Tracee
	asked map[int]bool        // threads that were asked to stop, and will be waited for later
	born  map[int]unix.Signal // threads that were born traced and have stopped, and the signal that each was about to get
}

const (
	patience = time.Millisecond // how long attaching may take before threads are reaped
	reapEach = 2 * time.Millisecond
	dying    = time.Second // how long to wait for a thread that is about to end
)

// groupOptions make us trace the threads and processes that are made while their maker is
// on its way to the stop. Children of vfork(2) are left out: the maker would never stop.
const groupOptions = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACECLONE

// NewGroup returns an empty group of the calling OS thread. It waits at most limit for each
// thread to stop. If attaching takes longer than that, it calls stuck on another OS thread:
// then only the end of our process helps.
func NewGroup(limit time.Duration, stuck func(pid, tid int)) *Group {
	return &Group{limit: limit, stuck: stuck, held: map[int]*Tracee{}, asked: map[int]bool{}, born: map[int]unix.Signal{}}
}

// Holds reports whether a thread is in the group.
func (g *Group) Holds(tid int) bool {
	t := g.held[tid]
	return t != nil && !t.dead
}

// Has reports whether we trace a thread, in the group or on its way there.
func (g *Group) Has(tid int) bool {
	_, born := g.born[tid]
	return born || g.Holds(tid) || g.asked[tid]
}

// Ask attaches to a thread and asks it to stop, without waiting for that: a busy thread
// stops when it gets a CPU, and many that are asked together wait for that at the same time.
// Seize does the rest, and returns errors.
func (g *Group) Ask(pid, tid int) {
	if g.Has(tid) || g.attach(pid, tid) != nil {
		return
	}
	if unix.PtraceInterrupt(tid) == nil {
		g.mu.Lock()
		g.asked[tid] = true
		g.mu.Unlock()
	}
}

// Seize stops a thread, attaching to it if it was not asked before.
func (g *Group) Seize(pid, tid int) (*Tracee, error) {
	t := &Tracee{PID: pid, TID: tid, group: g}
	var err error
	if !g.asked[tid] {
		err = g.attach(pid, tid)
	}
	if err == unix.EPERM && traced(pid, tid) {
		err = nil // it was born traced, or had another id when we attached
	}
	if err != nil {
		return nil, t.Wrap("attach", err)
	}
	g.mu.Lock()
	g.held[tid] = t
	g.mu.Unlock()
	if err := g.stop(t); err != nil {
		if !errors.Is(err, ErrTimeout) {
			g.forget(t)
		}
		return nil, err
	}
	return t, nil
}

// stop brings an attached thread to its stop.
func (g *Group) stop(t *Tracee) error {
	g.mu.Lock()
	asked := g.asked[t.TID]
	sig, born := g.born[t.TID]
	delete(g.asked, t.TID)
	delete(g.born, t.TID)
	g.mu.Unlock()
	if asked {
		return t.awaitEventStop(g.limit)
	}
	if !born {
		return t.interrupt(g.limit)
	}
	// Its stop has been reported already, so it is stopped again.
	if err := unix.PtraceInterrupt(t.TID); err != nil {
		return t.Wrap("interrupt", err)
	}
	if err := unix.PtraceCont(t.TID, int(sig)); err != nil {
		return t.Wrap("interrupt", err)
	}
	return t.awaitEventStop(g.limit)
}

// traced reports whether this OS thread traces a living thread.
func traced(pid, tid int) bool {
	if stat, err := proc.ReadThreadStat(pid, tid); err != nil || stat.State == 'Z' {
		return false
	}
	status, err := proc.ReadThreadStatus(pid, tid)
	return err == nil && status.TracerPid == unix.Gettid()
}

func (g *Group) attach(pid, tid int) error {
	attached, over := make(chan struct{}), make(chan struct{})
	timer := time.AfterFunc(patience, func() {
		defer close(over)
		g.reapWhile(pid, tid, attached)
	})
	err := seize(tid, groupOptions)
	if !timer.Stop() {
		close(attached)
		<-over
	}
	return err
}

// reapWhile reaps threads of a process that end, until attaching to a thread of it is done.
func (g *Group) reapWhile(pid, tid int, attached chan struct{}) {
	begin, told := time.Now(), false
	for {
		g.reap(pid, 0) // also tid: we may be tracing it already
		if !told && time.Since(begin) > g.limit {
			g.stuck(pid, tid)
			told = true
		}
		select {
		case <-attached:
			return
		case <-time.After(reapEach):
		}
	}
}

// reap reaps the threads of a process that have ended, except for one.
func (g *Group) reap(pid, except int) {
	tids, err := proc.Threads(pid)
	if err != nil {
		return // the whole process has ended
	}
	for _, tid := range tids {
		if tid == except || !hasEnded(tid) {
			continue
		}
		if n, _ := unix.Wait4(tid, nil, unix.WNOHANG|unix.WALL, nil); n == tid {
			g.ended(tid)
		}
	}
}

// hasEnded reports whether a thread that we trace has ended, and leaves its status to be
// waited for: even when asked only for ends, the kernel reports stops, and one would be
// lost.
func hasEnded(tid int) bool {
	var info unix.Siginfo
	if unix.Waitid(unix.P_PID, tid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil) != nil || info.Signo == 0 {
		return false
	}
	const exited, killed, dumped = 1, 2, 3 // CLD_ codes of sigaction(2)
	return info.Code == exited || info.Code == killed || info.Code == dumped
}

func (g *Group) ended(tid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.held[tid]; t != nil {
		t.dead = true
		delete(g.held, tid)
	}
	delete(g.asked, tid)
	delete(g.born, tid)
}

func (g *Group) forget(t *Tracee) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held[t.TID] == t {
		delete(g.held, t.TID)
	}
}

// Stands reports whether a thread of the group is still there and stopped. If not, it was
// killed, or another one took its id at execve(2).
func (g *Group) Stands(t *Tracee) bool {
	if t.dead {
		return false
	}
	_, err := getSigmask(t.TID)
	return err == nil
}

// Sweep waits for everything that the kernel has to report about all threads. It reports
// whether some have ended, or were born traced, since the last time.
func (g *Group) Sweep() (changed bool) {
	for {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WNOHANG|unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case err == unix.EINTR:
		case err != nil || tid <= 0:
			return changed
		case !ws.Stopped():
			changed = changed || g.Holds(tid)
			g.ended(tid)
		case g.Holds(tid) && isEventStop(ws):
			g.held[tid].noteStop(ws)
		case g.Holds(tid):
			// One that is held does not run. This one took its id at execve(2), and has
			// stopped on its way, in the middle of clone(2), say.
			g.ended(tid)
			g.born[tid], changed = given(ws), true
		default:
			delete(g.asked, tid)
			if _, known := g.born[tid]; !known {
				g.born[tid], changed = given(ws), true
			}
		}
	}
}

// isEventStop reports whether a thread stands where PTRACE_INTERRUPT brings it.
func isEventStop(ws unix.WaitStatus) bool { return int(ws)>>16 == unix.PTRACE_EVENT_STOP }

// noteStop notes a stop that nobody waited for: the process was stopped or continued by a
// signal.
func (t *Tracee) noteStop(ws unix.WaitStatus) {
	if s, err := t.classify(ws); err == nil && s.Event == unix.PTRACE_EVENT_STOP {
		t.GroupStop = s.group()
	}
}

// Release lets threads of the group run.
func (g *Group) Release(threads []*Tracee) error {
	var left []int
	for _, t := range threads {
		if !t.dead {
			left = append(left, t.TID)
		}
		t.dead = true
		g.forget(t)
	}
	return letGo(left, nil)
}

// letGo lets threads run: those that are stopped, and those on their way to a stop. It waits
// for the latter, and for threads that are about to end.
func letGo(standing, coming []int) error {
	left, errs := detachAll(standing)
	left = append(left, coming...)
	// A thread that can't be let go is about to end, because of what those did that were let
	// go before it; others may wait until we have reaped it.
	for begin := time.Now(); len(left) > 0 && time.Since(begin) < dying; {
		var more []error
		time.Sleep(50 * time.Microsecond)
		left, more = buryAll(left)
		errs = append(errs, more...)
	}
	return errors.Join(errs...)
}

// ReleaseAll lets all threads run.
func (g *Group) ReleaseAll() error {
	all := make([]*Tracee, 0, len(g.held))
	for _, t := range g.held {
		all = append(all, t)
	}
	return errors.Join(g.Release(all), g.ReleaseOthers())
}

// ReleaseOthers lets those threads run that we trace but that are not in the group.
func (g *Group) ReleaseOthers() error {
	g.mu.Lock()
	asked, born := slices.Collect(maps.Keys(g.asked)), maps.Clone(g.born)
	clear(g.asked)
	clear(g.born)
	g.mu.Unlock()
	var errs []error
	for tid, sig := range born {
		if err := detach(tid, sig); err == unix.ESRCH {
			asked = append(asked, tid)
		} else if err != nil {
			errs = append(errs, &TargetError{TID: tid, Op: "let go", Err: err})
		}
	}
	return errors.Join(append(errs, letGo(nil, slices.DeleteFunc(asked, g.Holds)))...)
}

// given returns the signal that a thread which stopped like that is about to get, 0 for
// none. It must be passed on when the thread continues.
func given(ws unix.WaitStatus) unix.Signal {
	if !ws.Stopped() || int(ws)>>16 != 0 || ws.StopSignal()&0x80 != 0 {
		return 0
	}
	return ws.StopSignal()
}

// detachAll lets threads run, and returns those that are not stopped.
func detachAll(tids []int) (left []int, errs []error) {
	for _, tid := range tids {
		switch err := detach(tid, 0); err {
		case nil:
		case unix.ESRCH:
			left = append(left, tid)
		default:
			errs = append(errs, &TargetError{TID: tid, Op: "let go", Err: err})
		}
	}
	return left, errs
}

// buryAll reaps the threads that have ended, lets those go that have stopped, and returns
// the others.
func buryAll(tids []int) (left []int, errs []error) {
	for _, tid := range tids {
		var ws unix.WaitStatus
		n, err := unix.Wait4(tid, &ws, unix.WNOHANG|unix.WALL, nil)
		switch {
		case err == unix.EINTR || err == nil && n == 0:
			left = append(left, tid)
		case err == nil && ws.Stopped():
			if err := detach(tid, given(ws)); err == unix.ESRCH {
				left = append(left, tid)
			} else if err != nil {
				errs = append(errs, &TargetError{TID: tid, Op: "let go", Err: err})
			}
		}
	}
	return left, errs
}

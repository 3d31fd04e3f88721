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

// ErrChanged: another thread of the process has run a program by execve(2), and
// what was known of the process does not hold any more.
var ErrChanged = errors.New("it ran another program while it was being stopped")

// Group is the threads of other processes that one OS thread holds. They may
// begin threads and processes, end, and run programs while the group grows.
//
// Who attaches to a thread of a process that is in execve(2) waits in the kernel
// until that is done, and execve waits until all other threads are reaped, by
// their tracer if they have one: by us. Another thread of ours does that while
// an attaching takes long; all else is for the one that holds the group.
type Group struct {
	limit time.Duration
	stuck func(pid, tid int)
	mu    sync.Mutex // both threads look at held
	held  map[int]*Tracee
	asked map[int]bool        // threads that were asked to stop, and are waited for later
	born  map[int]unix.Signal // threads that stand still, and nobody waited for that; with what they were about to get
}

const (
	patience = time.Millisecond // before an attaching is taken for a long one
	reapEach = 2 * time.Millisecond
	dying    = time.Second // how long is waited for what is about to end
)

// groupOptions has threads and processes that begin while their maker is on its
// way to the stop begin in our hands. Not so what is made by vfork(2): its maker
// would never come to the stop.
const groupOptions = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACECLONE

// NewGroup returns an empty group of the calling OS thread. It waits at most
// limit for each thread to stop. If to attach takes longer than that it calls
// stuck on another OS thread: only the end of the process helps then.
func NewGroup(limit time.Duration, stuck func(pid, tid int)) *Group {
	return &Group{limit: limit, stuck: stuck, held: map[int]*Tracee{}, asked: map[int]bool{}, born: map[int]unix.Signal{}}
}

// Holds reports whether a thread is in the group.
func (g *Group) Holds(tid int) bool {
	t := g.held[tid]
	return t != nil && !t.dead
}

// Has reports whether a thread is in our hands, in the group or on its way there.
func (g *Group) Has(tid int) bool {
	_, born := g.born[tid]
	return born || g.Holds(tid) || g.asked[tid]
}

// Ask attaches to a thread and asks it to stop, without waiting for that: a busy
// thread stops when it is given a CPU, and many asked together wait for one turn
// together. Seize does the rest, and tells what is in the way.
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
	if err == unix.EPERM && ours(pid, tid) {
		err = nil // born traced, or it had another id when we attached
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
	// Its stop has been told already, and it is stopped again.
	if err := unix.PtraceInterrupt(t.TID); err != nil {
		return t.Wrap("interrupt", err)
	}
	if err := unix.PtraceCont(t.TID, int(sig)); err != nil {
		return t.Wrap("interrupt", err)
	}
	return t.awaitEventStop(g.limit)
}

// ours reports whether this OS thread traces a thread that lives.
func ours(pid, tid int) bool {
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
		g.standBy(pid, tid, attached)
	})
	err := seize(tid, groupOptions)
	if !timer.Stop() {
		close(attached)
		<-over
	}
	return err
}

// standBy reaps what ends of a process until a thread of it is attached to.
func (g *Group) standBy(pid, tid int, attached chan struct{}) {
	begin, told := time.Now(), false
	for {
		g.reap(pid, 0) // tid, too: it may be ours already
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

// reap reaps what has ended of a process but thread except.
func (g *Group) reap(pid, except int) {
	tids, err := proc.Threads(pid)
	if err != nil {
		return // all of it has ended
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

// hasEnded looks at a thread of ours without taking what is to be told of it:
// asked for ends, the kernel tells stops, too, and these would be lost.
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

// Stands reports whether a thread of the group is there and stands still. One
// that does not was killed, or another one has its id by execve(2).
func (g *Group) Stands(t *Tracee) bool {
	if t.dead {
		return false
	}
	_, err := getSigmask(t.TID)
	return err == nil
}

// Sweep takes what the kernel has to say of all threads and reports whether
// some have ended, or were born into our hands, since the last time.
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
		case g.Holds(tid):
			g.held[tid].noteStop(ws)
		default:
			delete(g.asked, tid)
			if _, known := g.born[tid]; !known {
				g.born[tid], changed = given(ws), true
			}
		}
	}
}

// noteStop takes note of a stop that nobody waited for: the process was stopped
// or continued by a signal.
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

// letGo lets threads run that stand still, and those that are on their way to a
// stop; it waits for these, and for what is about to end.
func letGo(standing, coming []int) error {
	left, errs := detachAll(standing)
	left = append(left, coming...)
	// What is not there to be let go is about to end, by what those did that
	// were let go before it; others may wait until we have reaped it.
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

// ReleaseOthers lets those run that are in our hands but not in the group.
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

// given is the signal that a thread is about to get which stopped like that, 0 for
// none: it is to be given it when it goes on.
func given(ws unix.WaitStatus) unix.Signal {
	if !ws.Stopped() || int(ws)>>16 != 0 || ws.StopSignal()&0x80 != 0 {
		return 0
	}
	return ws.StopSignal()
}

// detachAll lets threads run and returns those that do not stand still.
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

// buryAll reaps those of the threads that have ended, lets those go that have
// come to their stop, and returns the others.
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

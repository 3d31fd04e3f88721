package collect

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/tracee"
)

func ownPID() int { return os.Getpid() }

// process is one process of the target, with all its threads held.
type process struct {
	pid     int
	stat    proc.Stat
	zombie  bool
	threads []*tracee.Tracee // the first is the leader; none of a zombie
	parent  *process         // nil for the root
	home    *tracee.Home
}

// tree is the target: a process and all its descendants.
type tree struct {
	procs  []*process // parents before their children
	byPID  map[int]*process
	held   map[int]bool // threads by id
	began  time.Time
	frozen time.Time // when the last thread stood still
	limit  time.Duration
	asleep map[int]time.Duration // since when threads had not run when they were stopped
	offset time.Duration         // of the scheduler's clock to the monotonic one
}

// clock is the scheduler's.
func (t *tree) clock() time.Duration { return monotonic() - t.offset }

// setClock compares the two clocks: having slept, this thread runs since just
// before. What passes until the monotonic clock is read makes the difference too
// large, and waits too long, never too short; the least of three is taken.
func (t *tree) setClock() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for i := range 3 {
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 1}, nil)
		ran, err := proc.ReadExecStart(os.Getpid(), unix.Gettid())
		if err != nil {
			return
		}
		if offset := monotonic() - ran; i == 0 || offset < t.offset {
			t.offset = offset
		}
	}
}

func monotonic() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // can't fail
	return time.Duration(ts.Nano())
}

// freeze holds every thread of a process and of its descendants. While some
// still run they may start others, so it looks again until it finds nothing new.
func freeze(pid int, timeout time.Duration) (*tree, error) {
	t := &tree{byPID: map[int]*process{}, held: map[int]bool{}, asleep: map[int]time.Duration{}, began: time.Now(), limit: timeout}
	t.setClock()
	t.add(pid, nil)
	for found := true; found; {
		found = false
		for i := 0; i < len(t.procs); i++ { // grows meanwhile
			more, err := t.hold(t.procs[i])
			if err != nil {
				return nil, errors.Join(err, t.release())
			}
			found = found || more
		}
	}
	t.frozen = time.Now()
	if err := t.read(); err != nil {
		return nil, errors.Join(err, t.release())
	}
	return t, nil
}

func (t *tree) root() *process { return t.procs[0] }

func (t *tree) add(pid int, parent *process) {
	p := &process{pid: pid, parent: parent}
	t.procs = append(t.procs, p)
	t.byPID[pid] = p
}

// hold stops what runs of a process, notes its children, and reports whether
// anything of it is new.
func (t *tree) hold(p *process) (found bool, err error) {
	tids, err := proc.Threads(p.pid)
	if err != nil {
		if p.parent != nil && len(p.threads) == 0 && proc.Gone(err) {
			return false, nil // it ended, and its parent has waited for it, before either was stopped
		}
		return false, noSuch(p.pid, err)
	}
	for _, tid := range tids {
		if t.held[tid] || p.zombie {
			continue
		}
		more, err := t.seize(p, tid)
		if err != nil {
			return false, err
		}
		found = found || more
	}
	children, err := proc.Children(p.pid)
	if err != nil {
		return false, err
	}
	for _, child := range children {
		if old := t.byPID[child]; old == nil {
			t.add(child, p)
			found = true
		} else if old != p && old.parent != p { // given to another parent since
			old.parent = p
		}
	}
	return found, nil
}

// seize stops one thread. One that ended meanwhile is none.
func (t *tree) seize(p *process, tid int) (bool, error) {
	ran, ranErr := proc.ReadExecStart(p.pid, tid) // to be stopped is to run, too
	at := t.clock()
	held, err := tracee.Seize(p.pid, tid, t.limit)
	if err != nil {
		stat, serr := proc.ReadThreadStat(p.pid, tid)
		switch {
		case serr != nil && (tid != p.pid || p.parent != nil):
			return false, nil
		case serr == nil && (stat.State == 'Z' || stat.State == 'X') && tid != p.pid:
			return false, nil
		case serr == nil && stat.State == 'Z' && stat.NumThreads <= 1 && p.parent != nil:
			p.zombie = true
			return true, nil
		}
		return false, whyNot(p.pid, tid, err)
	}
	t.held[tid] = true
	p.threads = append(p.threads, held)
	if ranErr == nil {
		t.asleep[tid] = max(0, at-ran)
	}
	if err := held.HideStop(); err != nil {
		return false, whyNot(p.pid, tid, err)
	}
	if p.home == nil {
		auxv, err := proc.ReadAuxv(p.pid)
		if err != nil {
			return false, err
		}
		home, err := tracee.FindHome(auxv)
		if err != nil {
			return false, err
		}
		p.home = &home
	}
	if err := held.ComeHome(*p.home, t.limit); err != nil {
		return false, whyNot(p.pid, tid, err)
	}
	if err := held.RecallWait(t.limit); err != nil {
		return false, whyNot(p.pid, tid, err)
	}
	return true, nil
}

// read reads what all stand still with now, and sorts the processes: each
// parent before its children, and of these the older first. Children that were
// given to another parent come last, for they are restored by the help of those
// they were with before.
func (t *tree) read() error {
	children := map[*process][]*process{}
	for _, p := range t.procs {
		stat, err := proc.ReadStat(p.pid)
		if proc.Gone(err) && len(p.threads) == 0 {
			continue
		}
		if err != nil {
			return err
		}
		p.stat = stat
		slices.SortStableFunc(p.threads, func(a, b *tracee.Tracee) int {
			return rank(p, a) - rank(p, b)
		})
		if p.parent != nil {
			children[p.parent] = append(children[p.parent], p)
		}
	}
	odd := map[*process]int{}
	for _, p := range t.procs {
		if p.parent != nil {
			odd[p] = t.adopted(p)
		}
	}
	root := t.root()
	t.procs = nil
	var visit func(p *process)
	visit = func(p *process) {
		t.procs = append(t.procs, p)
		list := children[p]
		slices.SortStableFunc(list, func(a, b *process) int {
			if odd[a] != odd[b] {
				return odd[a] - odd[b]
			}
			if a.stat.StartTime != b.stat.StartTime {
				return int(int64(a.stat.StartTime) - int64(b.stat.StartTime))
			}
			return a.pid - b.pid
		})
		for _, c := range list {
			visit(c)
		}
	}
	visit(root)
	return t.letStraysGo()
}

// letStraysGo releases what is no descendant any more: its parent ended before
// it could be stopped.
func (t *tree) letStraysGo() error {
	inside := make(map[*process]bool, len(t.procs))
	for _, p := range t.procs {
		inside[p] = true
	}
	var errs []error
	for pid, p := range t.byPID {
		if inside[p] {
			continue
		}
		for _, th := range p.threads {
			errs = append(errs, th.Detach(0))
		}
		delete(t.byPID, pid)
	}
	return errors.Join(errs...)
}

func rank(p *process, t *tracee.Tracee) int {
	if t.TID == p.pid {
		return 0
	}
	return t.TID
}

// adopted is 1 for a process that was given to its parent: others of its
// session are below that parent, but not beside the process.
func (t *tree) adopted(p *process) int {
	session := p.stat.Session
	if session == p.pid || session == p.parent.stat.Session {
		return 0
	}
	for _, q := range t.procs {
		if q.stat.Session == session && q.parent != p.parent && below(q, p.parent) && !below(q, p) {
			return 1
		}
	}
	return 0
}

func below(p, ancestor *process) bool {
	for p = p.parent; p != nil; p = p.parent {
		if p == ancestor {
			return true
		}
	}
	return false
}

func (t *tree) threads() int {
	n := 0
	for _, p := range t.procs {
		n += len(p.threads)
	}
	return n
}

// release lets every thread run, unharmed.
func (t *tree) release() error {
	var errs []error
	for _, p := range t.procs {
		for _, th := range p.threads {
			errs = append(errs, th.Detach(0))
		}
		p.threads = nil
	}
	return errors.Join(errs...)
}

// end does to the tree what the user asked for. In an event stop no signal
// can be given along, so SIGSTOP is sent first and met on leaving.
func (t *tree) end(leave string) error {
	switch leave {
	case LeaveStopped:
		for _, p := range t.procs {
			if p.zombie {
				continue
			}
			if err := unix.Kill(p.pid, unix.SIGSTOP); err != nil {
				return errors.Join(t.notEnded(p, "stopped", err), t.release())
			}
		}
	case LeaveKilled:
		return t.kill()
	}
	return t.release()
}

// noSuch says that a process is not there, if that is the reason.
func noSuch(pid int, err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("there is no process %d", pid)
	}
	return err
}

// whyNot explains why a thread can't be held.
func whyNot(pid, tid int, err error) error {
	status, serr := proc.ReadStatus(pid)
	if serr != nil {
		return noSuch(pid, serr)
	}
	b := &Blocker{PID: pid, Comm: status.Name}
	switch {
	case errors.Is(err, unix.EPERM) && status.TracerPid != 0:
		comm, _ := proc.ReadComm(status.TracerPid, status.TracerPid)
		b.Reason = fmt.Errorf("is traced by pid %d (%s), and a process has one tracer at a time", status.TracerPid, comm)
	case errors.Is(err, unix.EPERM) && status.State == 'Z':
		b.Reason = errors.New("has ended its first thread while others go on, which can't be saved")
	case errors.Is(err, unix.EPERM):
		b.Reason = errors.New("may not be traced by this user: it takes root, CAP_SYS_PTRACE, or the program's own user")
	case errors.Is(err, tracee.ErrTimeout):
		b.Reason = whyNoStop(pid, tid)
	case errors.Is(err, tracee.ErrDead):
		b.Reason = errors.New("ended while it was being stopped")
	default:
		return err
	}
	return &Refused{[]*Blocker{b}}
}

// whyNoStop explains why a thread does not stop.
func whyNoStop(pid, tid int) error {
	if call, err := proc.ReadSyscall(pid, tid); err == nil && slices.Contains(tracee.CloneCalls, call) {
		if children, err := proc.Children(pid); err == nil && len(children) > 0 {
			child := slices.Max(children)
			comm, _ := proc.ReadComm(child, child)
			return fmt.Errorf("waits in vfork for its child, pid %d (%s), to run another program or end; that did not happen in time (--timeout)", child, comm)
		}
	}
	return errors.New("sleeps uninterruptibly in the kernel and did not stop in time (--timeout)")
}

// admit refuses what can't be held at all, before anything is touched.
func admit(pid int) error {
	stat, err := proc.ReadStat(pid)
	if err != nil {
		return noSuch(pid, err)
	}
	b := &Blocker{PID: pid, Comm: stat.Comm}
	switch {
	case pid == ownPID():
		b.Reason = errors.New("is this very program, which can't stop itself")
	case within(ownPID(), pid):
		b.Reason = errors.New("is the parent of this very program, which can't stop itself; start it from elsewhere, or with setsid -f")
	case proc.IsKernelThread(stat):
		b.Reason = errors.New("is a thread of the kernel, which can't be saved")
	case stat.State == 'Z' || stat.State == 'X':
		b.Reason = fmt.Errorf("has ended already and waits for its parent, pid %d", stat.PPID)
	default:
		return nil
	}
	return &Refused{[]*Blocker{b}}
}

// within reports whether pid descends from root.
func within(pid, root int) bool {
	for pid > 1 {
		stat, err := proc.ReadStat(pid)
		if err != nil {
			return false
		}
		if pid = stat.PPID; pid == root {
			return true
		}
	}
	return false
}

package collect

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/files"
	"ckpt/internal/proc"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
)

func ownPID() int { return os.Getpid() }

// process is one process of the target, with all its threads held.
type process struct {
	pid     int
	stat    proc.Stat
	zombie  bool
	gone    bool             // it ended and was waited for
	denied  int              // how often in a row it could not be attached to
	threads []*tracee.Tracee // the first is the leader; none of a zombie
	parent  *process         // nil for the root
	home    *tracee.Home
	served  []error // what of its memory is of FUSE, and must not be read
}

// tree is the target: a process and all its descendants.
type tree struct {
	group  *tracee.Group
	procs  []*process // parents before their children
	byPID  map[int]*process
	began  time.Time
	frozen time.Time // when the last thread stood still
	limit  time.Duration
	passes int // over all of it
	rounds int
	thawed task.Frozen           // control groups that are not frozen
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
// still run they may start others, end, and run other programs, so it looks
// again until it finds nothing new. Should our own thread be stuck in the
// kernel, it calls stuck on another: then only the end of the process lets go.
func freeze(pid int, limit time.Duration, stuck func(error)) (*tree, error) {
	defer hurry()()
	t := &tree{byPID: map[int]*process{}, asleep: map[int]time.Duration{}, began: time.Now(), limit: limit}
	t.group = tracee.NewGroup(limit, func(pid, tid int) { stuck(whyStuck(pid, tid)) })
	t.setClock()
	t.add(pid, nil)
	err := t.holdAll()
	for ran := true; err == nil && ran; {
		if ran, err = t.recall(); err == nil && ran {
			err = t.holdAll()
		}
	}
	if err == nil {
		t.frozen = time.Now()
		err = t.read()
	}
	if err != nil {
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

func (t *tree) holdAll() error {
	for found := true; found; t.passes++ {
		found = false
		for i := 0; i < len(t.procs); i++ { // grows meanwhile
			more, err := t.hold(t.procs[i])
			if err != nil {
				return err
			}
			found = found || more
		}
		t.procs = slices.DeleteFunc(t.procs, func(p *process) bool { return p.gone })
		if t.group.Sweep() {
			found = true
		}
	}
	return nil
}

// minRounds are always made, however long they take.
const minRounds = 50

// round counts the looks at what does not stand still yet, which must have an end.
func (t *tree) round() error {
	if t.rounds++; t.rounds > minRounds && time.Since(t.began) > t.limit {
		return refused(t.root().pid, errors.New("starts or ends threads, processes or programs faster than they can be stopped (--timeout)"))
	}
	return nil
}

// hold stops what runs of a process, notes its children, and reports whether
// anything of it is new. Its threads stand still before its children are
// stopped: one that waits in vfork(2) for its child does not stop before that
// has gone on.
func (t *tree) hold(p *process) (found bool, err error) {
	if p.gone {
		return false, nil
	}
	if len(p.threads) == 0 && !t.isZombie(p) {
		if err := t.thawed.Check(p.pid); err != nil {
			return false, refused(p.pid, err)
		}
	}
	for more := !t.isZombie(p); more && !p.gone && !p.zombie; found = found || more {
		if more, err = t.holdThreads(p); err != nil {
			return false, err
		}
		if err = t.round(); more && err != nil {
			return false, err
		}
	}
	if p.gone || p.zombie {
		return found, nil
	}
	if !t.group.Holds(p.pid) {
		return false, refused(p.pid, errors.New("has ended its first thread while others go on, which can't be saved"))
	}
	more, err := t.findChildren(p)
	return found || more, err
}

// findChildren notes the children of a process until there are no new ones, and
// attaches to them at once: some make the next and end.
func (t *tree) findChildren(p *process) (found bool, err error) {
	for more := true; more; found = found || more {
		children, err := proc.Children(p.pid)
		if err != nil {
			return t.lost(p, err)
		}
		more = false
		for _, child := range slices.Backward(children) { // the newest first
			if old := t.byPID[child]; old == nil {
				t.ask(child, child)
				t.add(child, p)
				more = true
			} else if old != p && old.parent != p { // given to another parent since
				old.parent = p
			}
		}
		if err := t.round(); more && err != nil {
			return false, err
		}
	}
	return found, nil
}

// isZombie reports whether p is the zombie it was: if its parent does not stand
// still its id may be another process's by now.
func (t *tree) isZombie(p *process) bool {
	if p.zombie && len(p.parent.threads) == 0 {
		stat, err := proc.ReadStat(p.pid)
		p.gone = proc.Gone(err)
		p.zombie = err == nil && stat.State == 'Z'
		if p.gone {
			delete(t.byPID, p.pid)
		}
	}
	return p.zombie
}

// holdThreads stops the threads of a process that are not held yet and reports
// whether there were any, or those that were held do not stand any more.
func (t *tree) holdThreads(p *process) (found bool, err error) {
	tids, err := proc.Threads(p.pid)
	if err != nil {
		return t.lost(p, err)
	}
	for _, tid := range tids {
		t.ask(p.pid, tid)
	}
	for _, tid := range tids {
		if t.group.Holds(tid) {
			continue
		}
		more, err := t.seize(p, tid)
		if err != nil || p.zombie {
			return true, err
		}
		found = found || more
	}
	for _, th := range p.threads {
		if !t.group.Stands(th) {
			return true, t.startOver(p)
		}
	}
	return found, nil
}

// startOver lets go of what is held of a process: it was killed, or runs
// another program now, and what was known of it does not hold.
func (t *tree) startOver(p *process) error {
	err := t.group.Release(p.threads)
	p.threads, p.home = nil, nil
	return err
}

// lost is what becomes of a process that is not there any more. The root must be.
func (t *tree) lost(p *process, err error) (found bool, _ error) {
	if !proc.Gone(err) || p.parent == nil {
		return false, noSuch(p.pid, err)
	}
	p.gone = true
	delete(t.byPID, p.pid)
	return true, t.startOver(p)
}

// ask attaches to a thread and asks it to stop.
func (t *tree) ask(pid, tid int) {
	if t.group.Has(tid) {
		return
	}
	if t.passes == 0 { // what is found later is new, and may soon be gone
		at := t.clock()
		if ran, _ := proc.ReadExecStart(pid, tid); ran > 0 { // now, for to be stopped is to run, too
			t.asleep[tid] = max(0, at-ran)
		}
	}
	t.group.Ask(pid, tid)
}

// seize stops one thread and reports whether to look at its process again.
func (t *tree) seize(p *process, tid int) (again bool, err error) {
	held, err := t.group.Seize(p.pid, tid)
	if err != nil {
		return t.notSeized(p, tid, err)
	}
	p.denied = 0
	p.threads = append(p.threads, held)
	err = t.settle(p, held)
	if errors.Is(err, tracee.ErrDead) || errors.Is(err, tracee.ErrChanged) || proc.Gone(err) {
		return true, t.startOver(p)
	}
	if err != nil {
		return false, whyNot(p.pid, tid, err)
	}
	return true, nil
}

// settle undoes what was left in a thread by our stop or by an earlier one.
func (t *tree) settle(p *process, held *tracee.Tracee) error {
	if err := held.HideStop(); err != nil {
		return err
	}
	if p.home == nil {
		auxv, err := proc.ReadAuxv(p.pid)
		if err != nil {
			return err
		}
		home, err := tracee.FindHome(auxv)
		if err != nil {
			return err
		}
		p.home = &home
	}
	if err := held.ComeHome(*p.home, t.limit); err != nil {
		return err
	}
	return nil
}

// recall finds out what threads wait for and whether they can run on, which may be to
// look at their memory, and reports whether one ran for that. Nobody else runs by then: what is mapped does
// not change after it was looked at whether FUSE has to do with it.
func (t *tree) recall() (ran bool, err error) {
	for _, p := range t.procs {
		if p.zombie {
			continue
		}
		if p.served, err = files.Served(p.pid); err != nil {
			return false, err
		}
		if p.served != nil {
			continue
		}
		for _, th := range p.threads {
			more, err := t.recallThread(th)
			ran = ran || more
			if errors.Is(err, tracee.ErrDead) || errors.Is(err, tracee.ErrChanged) || proc.Gone(err) {
				ran = true
				if err = t.startOver(p); err != nil {
					return false, err
				}
				break
			}
			if err != nil {
				return false, whyNot(p.pid, th.TID, err)
			}
		}
	}
	return ran, nil
}

// recallThread does so for one thread.
func (t *tree) recallThread(th *tracee.Tracee) (ran bool, err error) {
	if ran, err = th.SettleRseq(t.limit); ran && err == nil {
		err = th.HideStop()
	}
	if err != nil {
		return ran, err
	}
	more, err := th.RecallWait(t.limit)
	return ran || more, err
}

// maxDenied is how often a thread is tried that the kernel does not let us hold
// for no reason that can be seen: at that moment it may have been about to end.
const maxDenied = 20

// notSeized judges why a thread could not be held. Mostly something has changed
// meanwhile, and its process is looked at again.
func (t *tree) notSeized(p *process, tid int, err error) (again bool, _ error) {
	stat, serr := proc.ReadThreadStat(p.pid, tid)
	ended := serr == nil && (stat.State == 'Z' || stat.State == 'X')
	switch {
	case errors.Is(err, tracee.ErrTimeout):
		return false, whyNot(p.pid, tid, err)
	case errors.Is(err, tracee.ErrChanged):
		return true, t.startOver(p)
	case proc.Gone(serr):
		return true, nil
	case serr != nil:
		return false, serr
	case ended && tid != p.pid:
		time.Sleep(50 * time.Microsecond) // it will not be listed for long
		return true, nil
	case ended && stat.NumThreads == 0:
		return true, nil // it is just being reaped, or replaced by execve
	case ended && stat.NumThreads == 1 && p.parent != nil:
		p.zombie = true
		return true, t.startOver(p)
	case ended && stat.NumThreads == 1:
		return false, refused(p.pid, hasEnded(stat))
	case ended:
		return false, nil // others of it go on, or are about to take its id by execve
	case errors.Is(err, tracee.ErrDead):
		return true, nil
	}
	if p.denied++; p.denied < maxDenied && errors.Is(err, unix.EPERM) && !tracedByOther(p.pid) {
		time.Sleep(50 * time.Microsecond)
		return true, nil
	}
	return false, whyNot(p.pid, tid, err)
}

func tracedByOther(pid int) bool {
	status, err := proc.ReadStatus(pid)
	return err == nil && status.TracerPid != 0
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
	for _, p := range t.procs {
		p.threads = nil
	}
	return t.group.ReleaseAll()
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

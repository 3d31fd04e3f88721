package collect

import (
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/files"
	"ckpt/internal/loan"
	"ckpt/internal/parallel"
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
	gone    bool             // it ended and was reaped
	denied  int              // how often in a row attaching to it failed
	threads []*tracee.Tracee // the first is the leader, unless that has ended; a zombie has none
	workers []*tracee.Tracee // threads of the kernel, which are not saved
	parent  *process         // nil for the root
	home    *loan.Home
	vdso    []tracee.Range // the code of the vdso
	served  []error        // its memory that is on FUSE, which must not be read
	narrow  bool           // it has 32-bit pointers
}

// headless reports whether the first thread of a process has ended while others go on. By its
// id, /proc then shows neither memory nor files, see at.
func (p *process) headless() bool { return len(p.threads) > 0 && p.threads[0].TID != p.pid }

// at is the id by which /proc shows the memory and the files of a process.
func (p *process) at() int {
	if len(p.threads) > 0 {
		return p.threads[0].TID
	}
	return p.pid
}

// tree is the target: a process and all its descendants.
type tree struct {
	group  *tracee.Group
	procs  []*process // parents before their children
	byPID  map[int]*process
	began  time.Time
	frozen time.Time // when the last thread had stopped
	limit  time.Duration
	passes int // over the whole tree
	rounds int
	thawed task.Frozen           // which control groups are frozen
	asleep map[int]time.Duration // how long threads had not run when they were stopped
	inside map[int]bool          // whether threads could not be brought out of the vdso
	clocks schedClocks
}

// freeze stops every thread of a process and of its descendants. As long as some run,
// they may start others, end, and run other programs, so it looks again until it finds
// nothing new. If our own thread gets stuck in the kernel, it calls stuck on another
// thread: then only the end of our process lets the target go.
func freeze(pid int, limit time.Duration, stuck func(error)) (*tree, error) {
	defer hurry()()
	t := &tree{byPID: map[int]*process{}, asleep: map[int]time.Duration{}, inside: map[int]bool{}, began: time.Now(), limit: limit}
	t.group = tracee.NewGroup(limit, func(pid, tid int) { stuck(whyStuck(pid, tid)) })
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
		for i := 0; i < len(t.procs); i++ { // it grows in the loop
			more, err := t.hold(t.procs[i])
			if err != nil {
				return err
			}
			found = found || more
		}
		// Who had no child when all its threads had been seen to stand still gets none.
		alone := len(t.procs) == 1 && !t.root().gone && len(t.root().threads) > 0
		t.procs = slices.DeleteFunc(t.procs, func(p *process) bool { return p.gone })
		found = t.group.Sweep() || found && !alone
	}
	return nil
}

// minRounds is how many rounds are always made, however long they take.
const minRounds = 50

// round counts the looks at processes that are not stopped yet, and ends them at the time
// limit.
func (t *tree) round() error {
	if t.rounds++; t.rounds > minRounds && time.Since(t.began) > t.limit {
		return refused(t.root().pid, errors.New("starts or ends threads, processes or programs faster than they can be stopped (--timeout)"))
	}
	return nil
}

// hold stops the threads of a process, notes its children, and reports whether it found
// anything new. All its threads are stopped before its children are: one that waits in
// vfork(2) for its child does not stop before the child has gone on.
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
	if !t.group.Holds(p.pid) && len(p.threads) == 0 {
		// Those that were listed have ended since, the first, too: one that is new is about
		// to take its id at execve. Were another one held, it would have ended for that.
		time.Sleep(50 * time.Microsecond)
		return true, t.round()
	}
	more, err := t.findChildren(p)
	return found || more, err
}

// findChildren notes the children of a process until there are no new ones, and attaches
// to them at once, because some make the next one and end.
func (t *tree) findChildren(p *process) (found bool, err error) {
	for more := true; more; found = found || more {
		children, err := proc.Children(p.pid)
		if err != nil {
			return t.lost(p, err)
		}
		var newer []threadID
		for _, child := range slices.Backward(children) { // the newest first
			if old := t.byPID[child]; old == nil {
				newer = append(newer, threadID{child, child})
			} else if old != p && old.parent != p { // it was reparented
				old.parent = p
			}
		}
		t.ask(newer)
		for _, child := range newer {
			t.add(child.pid, p)
		}
		more = len(newer) > 0
		if err := t.round(); more && err != nil {
			return false, err
		}
	}
	return found, nil
}

// isZombie reports whether p is still the zombie it was: as long as its parent is not
// stopped, it may be reaped and its id reused.
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

// holdThreads stops the threads of a process that are not held yet. It reports whether
// there were any, or whether one that was held is no longer stopped.
func (t *tree) holdThreads(p *process) (found bool, err error) {
	tids, err := proc.Threads(p.pid)
	if err != nil {
		return t.lost(p, err)
	}
	threads := make([]threadID, len(tids))
	for i, tid := range tids {
		threads[i] = threadID{p.pid, tid}
	}
	t.ask(threads)
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

// startOver lets go of the threads of a process and forgets what was known about it: it
// was killed, or runs another program now.
func (t *tree) startOver(p *process) error {
	err := t.group.Release(p.threads)
	p.threads, p.home = nil, nil
	return err
}

// lost handles a process that no longer exists. For the root that is an error.
func (t *tree) lost(p *process, err error) (found bool, _ error) {
	if !proc.Gone(err) || p.parent == nil {
		return false, noSuch(p.pid, err)
	}
	p.gone = true
	delete(t.byPID, p.pid)
	return true, t.startOver(p)
}

// threadID names a thread and its process.
type threadID struct{ pid, tid int }

// Of many threads so many are asked together: so few that it is some hundred microseconds
// from the look at when one last ran to its stop. Of few each is asked at once: they may
// be such as start the next one and end.
const (
	askTogether = 16
	many        = 64
)

// ask attaches to threads and asks them to stop, but to those that are traced already.
func (t *tree) ask(threads []threadID) {
	untraced := slices.DeleteFunc(slices.Clone(threads), func(th threadID) bool { return t.group.Has(th.tid) })
	together := 1
	if len(untraced) >= many {
		together = askTogether
	}
	for some := range slices.Chunk(untraced, together) {
		if t.passes == 0 { // a thread that is found later is new
			last := make([]lastRun, len(some)) // now, because stopping makes the thread run
			_ = parallel.Each(len(some), func(i int) error {
				last[i] = readLastRun(some[i].pid, some[i].tid)
				return nil
			})
			for i, th := range some {
				t.asleep[th.tid] = t.clocks.since(last[i])
			}
		}
		for _, th := range some {
			t.group.Ask(th.pid, th.tid)
		}
	}
}

// seize stops one thread, and reports whether its process must be looked at again.
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

// settle undoes what our stop, or an earlier checkpoint, left behind in a thread.
func (t *tree) settle(p *process, held *tracee.Tracee) error {
	if err := held.HideStop(); err != nil {
		return err
	}
	if p.home == nil {
		auxv, err := proc.ReadAuxv(held.TID)
		if err != nil {
			return err
		}
		home, err := loan.FindHome(auxv)
		if err != nil {
			return err
		}
		if p.vdso, err = tracee.VDSOCode(auxv); err != nil {
			return err
		}
		p.home, p.narrow = &home, tracee.Narrow(auxv)
	}
	if err := loan.ComeHome(held, *p.home, t.limit); err != nil {
		return err
	}
	return nil
}

// recall finds out what system calls threads wait in, and moves threads out of rseq
// critical sections and the vdso. That may take reading their memory, which is done only in processes
// without mappings on FUSE; all other threads are stopped, so that mappings don't change
// after that check. It reports whether a thread was let run for it.
func (t *tree) recall() (ran bool, err error) {
	if err := t.findServed(); err != nil {
		return false, err
	}
	for _, p := range t.procs {
		if p.zombie || p.served != nil {
			continue
		}
		for _, th := range p.threads {
			more, err := t.recallThread(p, th)
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

// findServed finds what processes have mapped of FUSE.
func (t *tree) findServed() error {
	lists := make([][]proc.Mapping, len(t.procs))
	err := parallel.Each(len(t.procs), func(i int) (err error) {
		if p := t.procs[i]; !p.zombie {
			lists[i], err = proc.ReadMaps(p.at())
		}
		return err
	})
	judged := map[uint64]string{}
	for i, p := range t.procs {
		if err == nil {
			p.served, err = files.Served(p.at(), lists[i], judged)
		}
	}
	return err
}

// recallThread does that for one thread.
func (t *tree) recallThread(p *process, th *tracee.Tracee) (ran bool, err error) {
	if ran, err = th.SettleRseq(t.limit); err != nil {
		return ran, err
	}
	if !t.inside[th.TID] {
		left, inside, err := th.LeaveVDSO(p.vdso, t.limit)
		if ran = ran || left; err != nil {
			return ran, err
		}
		t.inside[th.TID] = inside
	}
	if ran {
		if err := th.HideStop(); err != nil {
			return ran, err
		}
	}
	more, err := th.RecallWait(t.limit)
	return ran || more, err
}

// maxDenied is how often attaching to a thread is tried if the kernel refuses it for no
// visible reason: it may have been about to end at that moment.
const maxDenied = 20

// notSeized finds out why a thread could not be held. Usually something has changed in
// the meantime, and its process is looked at again.
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
		time.Sleep(50 * time.Microsecond) // it will soon disappear
		return true, nil
	case ended && stat.NumThreads == 0:
		return true, nil // it is just being reaped, or replaced at execve
	case ended && stat.NumThreads == 1 && p.parent != nil:
		p.zombie = true
		return true, t.startOver(p)
	case ended && stat.NumThreads == 1:
		return false, refused(p.pid, hasEnded(stat))
	case ended:
		return false, nil // other threads go on, or one is about to take its id at execve
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

// release lets every thread run on.
func (t *tree) release() error {
	for _, p := range t.procs {
		p.threads, p.workers = nil, nil
	}
	return t.group.ReleaseAll()
}

// end does with the tree what the user asked for. A thread in an event stop can't be
// given a signal when it is detached, so SIGSTOP is sent before, and takes effect then.
func (t *tree) end(leave string) error {
	switch leave {
	case LeaveStopped:
		t.volley(unix.SIGSTOP, lives)
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

package judge

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/task"
	"ckpt/stream/record"
)

// Step is one step in making the processes.
type Step struct {
	Kind  StepKind
	PID   int // the process that is made, or that takes the step
	By    int // the process that makes it
	Flags uint64
	Exit  unix.Signal
	Group int // of StepGroup
}

// StepKind is a kind of step.
type StepKind int

const (
	StepMake      StepKind = iota // make a process
	StepSetsid                    // it begins a session
	StepSubreaper                 // it becomes a child subreaper
	StepMakeAny                   // make a helper with any process id; the plan knows it by a negative one
	StepEnd                       // a helper ends
	StepUnshare                   // it calls unshare(2) with these flags
	StepGroup                     // it enters a process group, or begins one if that has its own id
)

// anySession: any session will do.
const anySession = -1

// being is a process as the plan has made it so far.
type being struct {
	session int
	parent  int
	refs    record.ThreadRefs
	exit    unix.Signal
}

// Plan says how all processes are made. What can't be changed later must be right at
// birth: the parent, the session, and what is shared. A process is made by its parent;
// by a sibling (CLONE_PARENT); by a helper in place of the dead leader of a session;
// or in its session by a helper that then ends, so that the process is reparented to
// its parent. A process between two that share something is born sharing it, too, and
// unshares it when its children are born.
type Plan struct {
	Root    []Step   // make the root
	Births  [][]Step // make the children of each task, when its memory is restored
	Threads map[int][]ThreadStep
	Groups  []Step // put all into their process groups
	Helpers []int  // process ids that are needed for a while
	// Deferred tasks are made only when all tasks before them in the model are
	// there, by one of those.
	Deferred map[*Task]bool
	// Clocks is the time namespace in which the tree is made.
	Clocks ClockPlan

	errs []error

	m      *Model
	alive  map[int]*being
	in     map[int][]int // processes that were ever in a session, in the order of birth
	made   map[uint64]bool
	needs  map[*Task]int
	inline int // minus the number of helpers with any process id
	kin    *kinship
	effort int
	births map[*Task]record.ThreadRefs // what a task is born with, if that is not what it has
}

// ThreadStep says how a thread is made.
type ThreadStep struct {
	TID, By int
	Flags   uint64
}

// makePlan makes the plan of a model. Session 0 is ckpt-apply's own.
func makePlan(m *Model) *Plan {
	p := &Plan{m: m, alive: map[int]*being{}, in: map[int][]int{}, made: map[uint64]bool{}, needs: map[*Task]int{}, births: map[*Task]record.ThreadRefs{},
		kin: kinshipOf(m), Deferred: map[*Task]bool{}, Threads: map[int][]ThreadStep{}}
	p.findNeeds()
	p.findCarried()
	p.planRoot(m.Tasks[0])
	for i, t := range m.Tasks {
		if p.effort > maxEffort {
			break
		}
		steps := p.planBirths(t)
		// The process that is filled with pages next must exist by then.
		if i+1 < len(m.Tasks) && p.Deferred[m.Tasks[i+1]] {
			steps = append(steps, p.adopted(m.Tasks[i+1])...)
		}
		p.Births = append(p.Births, steps)
	}
	for _, t := range m.Tasks {
		p.planThreads(t)
	}
	p.planGroups()
	if p.effort > maxEffort {
		p.errs = []error{errIntricate}
	}
	if len(p.errs) == 0 {
		p.errs = prove(m, p)
	}
	return p
}

// maxEffort bounds the effort of planning: how often a process may be looked at while
// another one is planned. A real tree takes few such looks, but a stream can be made
// up that takes the square of its length.
const maxEffort = 1 << 22

var errIntricate = errors.New("the processes' sessions, and what they share, are too intricate to restore: no way to make them was found in reasonable time")

func (p *Plan) add(pid int, b *being) {
	p.alive[pid] = b
	p.in[b.session] = append(p.in[b.session], pid)
	for _, k := range task.Cloned {
		p.made[*k.Ref(&b.refs)] = true
	}
}

// begin plans that a process begins its session.
func (p *Plan) begin(pid int) Step {
	p.alive[pid].session = pid
	p.in[pid] = append(p.in[pid], pid)
	return Step{Kind: StepSetsid, PID: pid}
}

// planRoot plans the root: it is made by the stub, or by a helper in its session; unless it
// is the init of a pid namespace.
func (p *Plan) planRoot(t *Task) {
	b := &being{refs: p.born(t), exit: unix.SIGCHLD}
	by := 0
	if p.m.IsInit() { // it is there before all
		if s := p.birthSession(t); s != 0 && s != anySession {
			p.errs = append(p.errs, fmt.Errorf("pid %d (%s) is the init of its pid namespace and can't have been in session %d", t.PID, t.Comm, s))
			return
		}
		p.add(t.PID, b)
		return
	}
	if s := p.birthSession(t); s != 0 && s != anySession {
		p.Root = append(p.Root, Step{Kind: StepMake, PID: s, Flags: unix.CLONE_PARENT}, Step{Kind: StepSetsid, PID: s})
		p.add(s, &being{session: s, exit: unix.SIGCHLD})
		p.Helpers = append(p.Helpers, s)
		by, b.session = s, s
	}
	p.Root = append(p.Root, Step{Kind: StepMake, PID: t.PID, By: by, Flags: unix.CLONE_PARENT})
	p.add(t.PID, b)
}

// birthSession returns the session in which a process must be born.
func (p *Plan) birthSession(t *Task) int {
	if t.Session != t.PID {
		return t.Session
	}
	return p.needs[t]
}

// findNeeds finds the session in which each session leader must be born. If a leader
// has a child in another session, the child was born before the leader began its own
// session, and that other session was the leader's then; unless the child was
// reparented.
func (p *Plan) findNeeds() {
	for _, t := range slices.Backward(p.kin.order) {
		p.needs[t] = anySession
		for _, c := range t.Children {
			n := p.birthSession(c)
			if n == anySession || n == t.PID || n != 0 && p.m.isInit(t) { // one is given all that lost their parents
				continue
			}
			if l := p.m.ByPID[n]; l == nil || !p.kin.below(l, t) {
				p.needs[t] = n
			}
		}
	}
}

// planBirths plans the children of one process. Those in its older session come before
// it begins its own, and those that share what it only carries for them come before it
// unshares that.
func (p *Plan) planBirths(t *Task) (steps []Step) {
	b := p.alive[t.PID]
	if b == nil {
		return nil // an error was reported already
	}
	left := t.Children
	some := func(now func(c *Task) bool) {
		var later []*Task
		for _, c := range left {
			if now(c) {
				steps = append(steps, p.birth(t, c)...)
			} else {
				later = append(later, c)
			}
		}
		left = later
	}
	leads, carries := t.Session == t.PID && b.session != t.PID, b.refs != t.Refs()
	older := func(c *Task) bool { return !leads || p.birthSession(c) == b.session }
	carried := func(c *Task) bool { return !carries || p.shares(t.Refs(), p.born(c)) != "" }
	setsid := func() {
		if leads {
			steps, leads = append(steps, p.begin(t.PID)), false
		}
	}
	some(func(c *Task) bool { return older(c) && carried(c) })
	if carries && slices.ContainsFunc(left, carried) {
		setsid()
		some(carried)
	}
	if carries {
		steps = append(steps, p.leave(t)...)
		carries = false
	}
	some(older)
	setsid()
	some(func(*Task) bool { return true })
	return steps
}

// planThreads plans the threads of a process, except for the first.
func (p *Plan) planThreads(t *Task) {
	for i, th := range t.Threads {
		if i == 0 || p.effort > maxEffort {
			continue
		}
		by := slices.IndexFunc(t.Threads[:i], func(o *Thread) bool { p.effort++; return p.shares(o.Refs, th.Refs) == "" })
		if by < 0 {
			p.errs = append(p.errs, fmt.Errorf("thread %d of pid %d (%s) shares its %s with another process but with no thread of its own, which can't be restored",
				th.TID, t.PID, t.Comm, p.shares(t.Refs(), th.Refs)))
			continue
		}
		maker := t.Threads[by]
		p.Threads[t.PID] = append(p.Threads[t.PID], ThreadStep{TID: th.TID, By: maker.TID, Flags: flags(maker.Refs, th.Refs) &^ (unix.CLONE_VM | unix.CLONE_SIGHAND)})
		for _, k := range task.Cloned {
			p.made[*k.Ref(&th.Refs)] = true
		}
	}
}

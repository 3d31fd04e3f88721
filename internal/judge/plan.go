package judge

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/task"
	"ckpt/stream/record"
)

// Step is one act in making the processes.
type Step struct {
	Kind  StepKind
	PID   int // who is made, or does it
	By    int // who makes it
	Flags uint64
	Exit  unix.Signal
	Group int // of StepGroup
}

// StepKind says which.
type StepKind int

const (
	StepMake    StepKind = iota // make a process
	StepSetsid                  // it begins a session
	StepGather                  // children of those that end become its own
	StepMakeAny                 // make a helper of any process id, known as pid, which is negative
	StepEnd                     // a helper ends
	StepUnshare                 // it leaves what it shares by these flags
	StepGroup                   // it enters a process group, or with its own id begins one
)

// anySession: it does not matter which.
const anySession = -1

// being is a process as the plan has it so far.
type being struct {
	session int
	parent  int
	refs    record.ThreadRefs
	exit    unix.Signal
}

// Plan is how all processes come to be. What clone(2) can't give afterwards must
// be right at birth: the parent, the session, and what is shared. A process is
// made by its parent, by a sibling (CLONE_PARENT), by a helper that stands for
// the dead leader of a session, or in its session under a helper whose end gives
// it to its parent. What lies between two that share is born sharing, too, and
// leaves that when its children are born.
type Plan struct {
	Root    []Step   // that make the root
	Births  [][]Step // that make each task's children, when its memory stands
	Threads map[int][]ThreadStep
	Groups  []Step // that put all into their process groups
	Helpers []int  // process ids needed for a while
	// Deferred are born after all that stands before them in the model, by the
	// help of some of it.
	Deferred map[*Task]bool
	// Clocks are those the tree is born with.
	Clocks ClockPlan

	errs []error

	m      *Model
	alive  map[int]*being
	in     map[int][]int // who was ever in a session, by birth
	made   map[uint64]bool
	needs  map[*Task]int
	inline int // helpers of any process id
	kin    *kinship
	effort int
	births map[*Task]record.ThreadRefs // what each is born with, where it is not what it has
}

// ThreadStep is how a thread comes to be.
type ThreadStep struct {
	TID, By int
	Flags   uint64
}

// makePlan plans. Session 0 is ckpt-apply's own.
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
		// Those whose turn to have pages comes next must be there by then.
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

// maxEffort bounds a plan: how many processes may be looked at beside those that
// are planned. A tree takes few such looks, but a stream may be made to take
// the square of its length.
const maxEffort = 1 << 22

var errIntricate = errors.New("the processes' sessions, and what they share, are too intricate to restore: no way to make them was found in reasonable time")

func (p *Plan) add(pid int, b *being) {
	p.alive[pid] = b
	p.in[b.session] = append(p.in[b.session], pid)
	for _, k := range task.Cloned {
		p.made[*k.Ref(&b.refs)] = true
	}
}

// begin has a process begin its session.
func (p *Plan) begin(pid int) Step {
	p.alive[pid].session = pid
	p.in[pid] = append(p.in[pid], pid)
	return Step{Kind: StepSetsid, PID: pid}
}

// planRoot has the root made by the stub, or by a helper in its session.
func (p *Plan) planRoot(t *Task) {
	b := &being{refs: p.born(t), exit: unix.SIGCHLD}
	by := 0
	if s := p.need(t); s != 0 && s != anySession {
		p.Root = append(p.Root, Step{Kind: StepMake, PID: s, Flags: unix.CLONE_PARENT}, Step{Kind: StepSetsid, PID: s})
		p.add(s, &being{session: s, exit: unix.SIGCHLD})
		p.Helpers = append(p.Helpers, s)
		by, b.session = s, s
	}
	p.Root = append(p.Root, Step{Kind: StepMake, PID: t.PID, By: by, Flags: unix.CLONE_PARENT})
	p.add(t.PID, b)
}

// need returns the session a process must be born in.
func (p *Plan) need(t *Task) int {
	if t.Session != t.PID {
		return t.Session
	}
	return p.needs[t]
}

// findNeeds finds in which session each leader must be born. A leader's child in
// another session was born before the leader began its own, in the one that was
// the leader's then; but for one that was given to it.
func (p *Plan) findNeeds() {
	for _, t := range slices.Backward(p.kin.order) {
		p.needs[t] = anySession
		for _, c := range t.Children {
			n := p.need(c)
			if n == anySession || n == t.PID {
				continue
			}
			if l := p.m.ByPID[n]; l == nil || !p.kin.below(l, t) {
				p.needs[t] = n
			}
		}
	}
}

// planBirths plans the children of one process: those of its older session, and
// those that have what it only carries for them, before it leaves that.
func (p *Plan) planBirths(t *Task) (steps []Step) {
	b := p.alive[t.PID]
	if b == nil {
		return nil // there is an error already
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
	older := func(c *Task) bool { return !leads || p.need(c) == b.session }
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

// planThreads plans the threads of a process beside its first.
func (p *Plan) planThreads(t *Task) {
	for i, th := range t.Threads {
		if i == 0 || p.effort > maxEffort {
			continue
		}
		by := slices.IndexFunc(t.Threads[:i], func(o *Thread) bool { p.effort++; return p.shares(o.Refs, th.Refs) == "" })
		if by < 0 {
			p.errs = append(p.errs, fmt.Errorf("thread %d of pid %d (%s) shares its %s with no thread of its process but with another process, which can't be restored",
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

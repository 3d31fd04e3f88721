package judge

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/stream"
)

// Shareable are what clone(2) shares or copies.
var Shareable = [...]struct {
	Type     stream.Type
	Ref      func(*stream.ThreadRefs) *uint64
	flag     uint64
	what     string
	optional bool
}{
	{stream.TypeMM, func(r *stream.ThreadRefs) *uint64 { return &r.MM }, unix.CLONE_VM, "memory", false},
	{stream.TypeSigactions, func(r *stream.ThreadRefs) *uint64 { return &r.Sighand }, unix.CLONE_SIGHAND, "signal actions", false},
	{stream.TypeFDTable, func(r *stream.ThreadRefs) *uint64 { return &r.Files }, unix.CLONE_FILES, "descriptor table", false},
	{stream.TypeFS, func(r *stream.ThreadRefs) *uint64 { return &r.FS }, unix.CLONE_FS, "working folder", false},
	{stream.TypeIOCtx, func(r *stream.ThreadRefs) *uint64 { return &r.IO }, unix.CLONE_IO, "I/O context", true},
	{stream.TypeSemUndo, func(r *stream.ThreadRefs) *uint64 { return &r.SysVSem }, unix.CLONE_SYSVSEM, "semaphore undo list", true},
}

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
	refs    stream.ThreadRefs
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
	births map[*Task]stream.ThreadRefs // what each is born with, where it is not what it has
}

// ThreadStep is how a thread comes to be.
type ThreadStep struct {
	TID, By int
	Flags   uint64
}

// makePlan plans. Session 0 is ckpt-apply's own.
func makePlan(m *Model) *Plan {
	p := &Plan{m: m, alive: map[int]*being{}, in: map[int][]int{}, made: map[uint64]bool{}, needs: map[*Task]int{}, births: map[*Task]stream.ThreadRefs{},
		kin: kinshipOf(m), Deferred: map[*Task]bool{}, Threads: map[int][]ThreadStep{}}
	p.findNeeds()
	p.findCarried()
	p.planRoot(m.Tasks[0])
	for i, t := range m.Tasks {
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
	if len(p.errs) == 0 {
		p.errs = prove(m, p)
	}
	return p
}

func (p *Plan) add(pid int, b *being) {
	p.alive[pid] = b
	p.in[b.session] = append(p.in[b.session], pid)
	for _, k := range Shareable {
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

// birth plans one process.
func (p *Plan) birth(parent, c *Task) []Step {
	session := p.need(c)
	if p.elsewhere(parent, c, session) {
		p.Deferred[c] = true
		return nil
	}
	exit := unix.Signal(c.ExitSignal)
	fits := func(by int) bool {
		b := p.alive[by]
		return (session == anySession || b.session == session) && p.shares(b.refs, p.born(c)) == ""
	}
	if fits(parent.PID) {
		return []Step{p.make(parent.PID, parent.PID, c, exit)}
	}
	candidates := []int{parent.PID}
	for _, s := range parent.Children {
		if b := p.alive[s.PID]; b != nil && b.exit == exit {
			candidates = append(candidates, s.PID)
		}
	}
	for _, by := range candidates[1:] {
		if fits(by) {
			return []Step{p.make(parent.PID, by, c, exit)}
		}
	}
	if steps := p.underSibling(parent, c, session, exit); steps != nil {
		return steps
	}
	if what := p.sharesWithNone(candidates, c); what != "" {
		p.errs = append(p.errs, fmt.Errorf("pid %d (%s) shares its %s with a process that is neither its parent nor a sibling, which can't be restored", c.PID, c.Comm, what))
		return nil
	}
	if steps := p.underHelper(parent, c, session, exit); steps != nil {
		return steps
	}
	p.errs = append(p.errs, noSession(c, session))
	return nil
}

func noSession(c *Task, session int) error {
	return fmt.Errorf("pid %d (%s) is in session %d, which its parent, pid %d, never was in, and no process in the image explains that; it can't be restored",
		c.PID, c.Comm, session, c.PPID)
}

// elsewhere reports whether a process's session is found below its parent, but
// not among its siblings: it was born there and lost its first parent.
func (p *Plan) elsewhere(parent, c *Task, session int) bool {
	if session == anySession || p.alive[parent.PID].session == session || parent.Session == session {
		return false
	}
	for _, q := range p.kin.sessions[session] {
		if q.Parent != parent && q != c && p.kin.below(q, parent) && !p.kin.below(q, c) {
			return true
		}
	}
	return false
}

// shares says what of a process's objects, if made already, its maker has not.
func (p *Plan) shares(maker, refs stream.ThreadRefs) string {
	for _, k := range Shareable {
		if ref := *k.Ref(&refs); ref != 0 && p.made[ref] && *k.Ref(&maker) != ref {
			return k.what
		}
	}
	return ""
}

func (p *Plan) sharesWithNone(candidates []int, c *Task) (what string) {
	for _, by := range candidates {
		if what = p.shares(p.alive[by].refs, p.born(c)); what == "" {
			return ""
		}
	}
	return what
}

// flags are the CLONE_ flags for what two share.
func flags(maker, refs stream.ThreadRefs) (f uint64) {
	for _, k := range Shareable {
		if ref := *k.Ref(&refs); ref != 0 && *k.Ref(&maker) == ref {
			f |= k.flag
		}
	}
	return f
}

// make plans that by makes a child of parent.
func (p *Plan) make(parent, by int, c *Task, exit unix.Signal) Step {
	maker := p.alive[by]
	s := Step{Kind: StepMake, PID: c.PID, By: by, Flags: flags(maker.refs, p.born(c)), Exit: exit}
	if by != parent {
		s.Flags |= unix.CLONE_PARENT
		s.Exit = 0
	}
	p.add(c.PID, &being{session: maker.session, parent: parent, refs: p.born(c), exit: exit})
	return s
}

// underSibling has a process made by a sibling that leads its session, and begins
// that earlier than it would.
func (p *Plan) underSibling(parent, c *Task, session int, exit unix.Signal) []Step {
	leader := p.m.ByPID[session]
	if leader == nil || leader.Parent != parent || leader.Session != session || p.need(leader) != anySession {
		return nil
	}
	b := p.alive[session]
	if b == nil || b.exit != exit || p.shares(b.refs, p.born(c)) != "" {
		return nil
	}
	return []Step{p.begin(session), p.make(parent.PID, session, c, exit)}
}

// underHelper has a process made by a helper that leads its session, whose
// leader has ended.
func (p *Plan) underHelper(parent, c *Task, session int, exit unix.Signal) []Step {
	if session <= 0 || p.m.ByPID[session] != nil || p.alive[session] != nil || exit != unix.SIGCHLD {
		return nil
	}
	maker := p.alive[parent.PID]
	shared := stream.ThreadRefs{}
	for _, k := range Shareable {
		if ref := *k.Ref(&maker.refs); ref == *k.Ref(ptr(p.born(c))) {
			*k.Ref(&shared) = ref
		}
	}
	if p.shares(shared, p.born(c)) != "" {
		return nil
	}
	steps := []Step{{Kind: StepMake, PID: session, By: parent.PID, Flags: flags(maker.refs, shared), Exit: unix.SIGCHLD}, {Kind: StepSetsid, PID: session}}
	p.add(session, &being{session: session, parent: parent.PID, refs: shared, exit: unix.SIGCHLD})
	p.Helpers = append(p.Helpers, session)
	return append(steps, p.make(parent.PID, session, c, exit))
}

func ptr[T any](v T) *T { return &v }

// adopted has a process born in its session by a helper there, whose end gives
// it to the parent, which must be above.
func (p *Plan) adopted(c *Task) []Step {
	session := p.need(c)
	for _, pid := range p.in[session] {
		b := p.alive[pid]
		if b.session != session || !p.below(pid, c.PPID) || p.shares(stream.ThreadRefs{}, p.born(c)) != "" {
			continue
		}
		p.inline--
		p.add(c.PID, &being{session: session, parent: c.PPID, refs: p.born(c), exit: unix.SIGCHLD})
		return []Step{
			{Kind: StepGather, PID: c.PPID},
			{Kind: StepMakeAny, PID: p.inline, By: pid, Exit: unix.SIGCHLD},
			{Kind: StepMake, PID: c.PID, By: p.inline, Exit: unix.SIGCHLD},
			{Kind: StepEnd, PID: p.inline},
		}
	}
	p.errs = append(p.errs, noSession(c, session))
	return nil
}

// below reports whether a process descends from another.
func (p *Plan) below(pid, ancestor int) bool {
	for b := p.alive[pid]; b != nil; b = p.alive[b.parent] {
		if b.parent == ancestor {
			return true
		}
	}
	return false
}

// planThreads plans the threads of a process beside its first.
func (p *Plan) planThreads(t *Task) {
	for i, th := range t.Threads {
		if i == 0 {
			continue
		}
		by := slices.IndexFunc(t.Threads[:i], func(o *Thread) bool { return p.shares(o.Refs, th.Refs) == "" })
		if by < 0 {
			p.errs = append(p.errs, fmt.Errorf("thread %d of pid %d (%s) shares its %s with no thread of its process but with another process, which can't be restored",
				th.TID, t.PID, t.Comm, p.shares(t.Refs(), th.Refs)))
			continue
		}
		maker := t.Threads[by]
		p.Threads[t.PID] = append(p.Threads[t.PID], ThreadStep{TID: th.TID, By: maker.TID, Flags: flags(maker.Refs, th.Refs) &^ (unix.CLONE_VM | unix.CLONE_SIGHAND)})
		for _, k := range Shareable {
			p.made[*k.Ref(&th.Refs)] = true
		}
	}
}

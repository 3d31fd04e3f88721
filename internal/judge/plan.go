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
}

// StepKind says which.
type StepKind int

const (
	StepMake    StepKind = iota // make a process
	StepSetsid                  // it begins a session
	StepGather                  // children of those that end become its own
	StepMakeAny                 // make a helper of any process id, known as pid, which is negative
	StepEnd                     // a helper ends
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
// it to its parent.
type Plan struct {
	Root    []Step   // that make the root
	Births  [][]Step // that make each task's children, when its memory stands
	Threads map[int][]ThreadStep
	Helpers []int // process ids needed for a while
	// Deferred are born after all that stands before them in the model, by the
	// help of some of it.
	Deferred map[*Task]bool
	// Clocks are those the tree is born with.
	Clocks ClockPlan

	errs []error

	m      *Model
	alive  map[int]*being
	order  []int // of alive, by birth
	made   map[uint64]bool
	needs  map[*Task]int
	inline int // helpers of any process id
}

// ThreadStep is how a thread comes to be.
type ThreadStep struct {
	TID, By int
	Flags   uint64
}

// makePlan plans. Session 0 is ckpt-apply's own.
func makePlan(m *Model) *Plan {
	p := &Plan{m: m, alive: map[int]*being{}, made: map[uint64]bool{}, needs: map[*Task]int{}, Deferred: map[*Task]bool{}, Threads: map[int][]ThreadStep{}}
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
	return p
}

func (p *Plan) add(pid int, b *being) {
	p.alive[pid] = b
	p.order = append(p.order, pid)
	for _, k := range Shareable {
		p.made[*k.Ref(&b.refs)] = true
	}
}

// planRoot has the root made by the stub, or by a helper in its session.
func (p *Plan) planRoot(t *Task) {
	b := &being{refs: t.Refs(), exit: unix.SIGCHLD}
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
	if n, ok := p.needs[t]; ok {
		return n
	}
	p.needs[t] = anySession
	for _, c := range t.Children {
		// A leader's child in another session was born before the leader began
		// its own, in the one that was the leader's then.
		if n := p.need(c); n != anySession && n != t.PID && p.m.ByPID[n] == nil {
			p.needs[t] = n
		}
	}
	return p.needs[t]
}

// planBirths plans the children of one process.
func (p *Plan) planBirths(t *Task) (steps []Step) {
	b := p.alive[t.PID]
	if b == nil {
		return nil // there is an error already
	}
	leads := func() bool { return t.Session == t.PID && b.session != t.PID }
	var later []*Task
	for _, c := range t.Children {
		if leads() && p.need(c) != b.session {
			later = append(later, c)
			continue
		}
		steps = append(steps, p.birth(t, c)...)
	}
	if leads() {
		steps = append(steps, Step{Kind: StepSetsid, PID: t.PID})
		b.session = t.PID
	}
	for _, c := range later {
		steps = append(steps, p.birth(t, c)...)
	}
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
		return (session == anySession || b.session == session) && p.shares(b.refs, c.Refs()) == ""
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
	for _, q := range p.m.Tasks {
		if q.Session == session && q.Parent != parent && q != c && isBelow(q, parent) && !isBelow(q, c) {
			return true
		}
	}
	return false
}

func isBelow(t, ancestor *Task) bool {
	for t = t.Parent; t != nil; t = t.Parent {
		if t == ancestor {
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
		if what = p.shares(p.alive[by].refs, c.Refs()); what == "" {
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
	s := Step{Kind: StepMake, PID: c.PID, By: by, Flags: flags(maker.refs, c.Refs()), Exit: exit}
	if by != parent {
		s.Flags |= unix.CLONE_PARENT
		s.Exit = 0
	}
	p.add(c.PID, &being{session: maker.session, parent: parent, refs: c.Refs(), exit: exit})
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
	if b == nil || b.exit != exit || p.shares(b.refs, c.Refs()) != "" {
		return nil
	}
	b.session = session
	return []Step{{Kind: StepSetsid, PID: session}, p.make(parent.PID, session, c, exit)}
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
		if ref := *k.Ref(&maker.refs); ref == *k.Ref(ptr(c.Refs())) {
			*k.Ref(&shared) = ref
		}
	}
	if p.shares(shared, c.Refs()) != "" {
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
	for _, pid := range p.order {
		b := p.alive[pid]
		if b.session != session || !p.below(pid, c.PPID) || p.shares(stream.ThreadRefs{}, c.Refs()) != "" {
			continue
		}
		p.inline--
		p.add(c.PID, &being{session: session, parent: c.PPID, refs: c.Refs(), exit: unix.SIGCHLD})
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

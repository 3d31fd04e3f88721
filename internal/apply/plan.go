package apply

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/stream"
)

// shareable are what clone(2) shares or copies.
var shareable = [...]struct {
	typ      stream.Type
	ref      func(*stream.ThreadRefs) *uint64
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

// step is one act in making the processes.
type step struct {
	kind  stepKind
	pid   int // who is made, or does it
	by    int // who makes it
	flags uint64
	exit  unix.Signal
}

type stepKind int

const (
	stepMake    stepKind = iota // make a process
	stepSetsid                  // it begins a session
	stepGather                  // children of those that end become its own
	stepMakeAny                 // make a helper of any process id, known as pid, which is negative
	stepEnd                     // a helper ends
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

// plan is how all processes come to be. What clone(2) can't give afterwards must
// be right at birth: the parent, the session, and what is shared. A process is
// made by its parent, by a sibling (CLONE_PARENT), by a helper that stands for
// the dead leader of a session, or in its session under a helper whose end gives
// it to its parent.
type plan struct {
	root    []step   // that make the root
	births  [][]step // that make each task's children, when its memory stands
	threads map[int][]threadStep
	helpers []int // process ids needed for a while
	errs    []error

	m      *model
	alive  map[int]*being
	order  []int // of alive, by birth
	made   map[uint64]bool
	needs  map[*taskModel]int
	inline int // helpers of any process id
	// deferred are born after all that stands before them in the model, by the
	// help of some of it.
	deferred map[*taskModel]bool
}

// threadStep is how a thread comes to be.
type threadStep struct {
	tid, by int
	flags   uint64
}

// makePlan plans. Session 0 is ckpt-apply's own.
func makePlan(m *model) *plan {
	p := &plan{m: m, alive: map[int]*being{}, made: map[uint64]bool{}, needs: map[*taskModel]int{}, deferred: map[*taskModel]bool{}, threads: map[int][]threadStep{}}
	p.planRoot(m.tasks[0])
	for i, t := range m.tasks {
		steps := p.planBirths(t)
		// Those whose turn to have pages comes next must be there by then.
		if i+1 < len(m.tasks) && p.deferred[m.tasks[i+1]] {
			steps = append(steps, p.adopted(m.tasks[i+1])...)
		}
		p.births = append(p.births, steps)
	}
	for _, t := range m.tasks {
		p.planThreads(t)
	}
	return p
}

func (p *plan) add(pid int, b *being) {
	p.alive[pid] = b
	p.order = append(p.order, pid)
	for _, k := range shareable {
		p.made[*k.ref(&b.refs)] = true
	}
}

// planRoot has the root made by the stub, or by a helper in its session.
func (p *plan) planRoot(t *taskModel) {
	b := &being{refs: t.refs(), exit: unix.SIGCHLD}
	by := 0
	if s := p.need(t); s != 0 && s != anySession {
		p.root = append(p.root, step{kind: stepMake, pid: s, flags: unix.CLONE_PARENT}, step{kind: stepSetsid, pid: s})
		p.add(s, &being{session: s, exit: unix.SIGCHLD})
		p.helpers = append(p.helpers, s)
		by, b.session = s, s
	}
	p.root = append(p.root, step{kind: stepMake, pid: t.PID, by: by, flags: unix.CLONE_PARENT})
	p.add(t.PID, b)
}

// need returns the session a process must be born in.
func (p *plan) need(t *taskModel) int {
	if t.SID != t.PID {
		return t.SID
	}
	if n, ok := p.needs[t]; ok {
		return n
	}
	p.needs[t] = anySession
	for _, c := range t.children {
		// A leader's child in another session was born before the leader began
		// its own, in the one that was the leader's then.
		if n := p.need(c); n != anySession && n != t.PID && p.m.byPID[n] == nil {
			p.needs[t] = n
		}
	}
	return p.needs[t]
}

// planBirths plans the children of one process.
func (p *plan) planBirths(t *taskModel) (steps []step) {
	b := p.alive[t.PID]
	if b == nil {
		return nil // there is an error already
	}
	leads := func() bool { return t.SID == t.PID && b.session != t.PID }
	var later []*taskModel
	for _, c := range t.children {
		if leads() && p.need(c) != b.session {
			later = append(later, c)
			continue
		}
		steps = append(steps, p.birth(t, c)...)
	}
	if leads() {
		steps = append(steps, step{kind: stepSetsid, pid: t.PID})
		b.session = t.PID
	}
	for _, c := range later {
		steps = append(steps, p.birth(t, c)...)
	}
	return steps
}

// birth plans one process.
func (p *plan) birth(parent, c *taskModel) []step {
	session := p.need(c)
	if p.elsewhere(parent, c, session) {
		p.deferred[c] = true
		return nil
	}
	exit := unix.Signal(c.ExitSignal)
	fits := func(by int) bool {
		b := p.alive[by]
		return (session == anySession || b.session == session) && p.shares(b.refs, c.refs()) == ""
	}
	if fits(parent.PID) {
		return []step{p.make(parent.PID, parent.PID, c, exit)}
	}
	candidates := []int{parent.PID}
	for _, s := range parent.children {
		if b := p.alive[s.PID]; b != nil && b.exit == exit {
			candidates = append(candidates, s.PID)
		}
	}
	for _, by := range candidates[1:] {
		if fits(by) {
			return []step{p.make(parent.PID, by, c, exit)}
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

func noSession(c *taskModel, session int) error {
	return fmt.Errorf("pid %d (%s) is in session %d, which its parent, pid %d, never was in, and no process in the image explains that; it can't be restored",
		c.PID, c.Comm, session, c.PPID)
}

// elsewhere reports whether a process's session is found below its parent, but
// not among its siblings: it was born there and lost its first parent.
func (p *plan) elsewhere(parent, c *taskModel, session int) bool {
	if session == anySession || p.alive[parent.PID].session == session || parent.SID == session {
		return false
	}
	for _, q := range p.m.tasks {
		if q.SID == session && q.parent != parent && q != c && isBelow(q, parent) && !isBelow(q, c) {
			return true
		}
	}
	return false
}

func isBelow(t, ancestor *taskModel) bool {
	for t = t.parent; t != nil; t = t.parent {
		if t == ancestor {
			return true
		}
	}
	return false
}

// shares says what of a process's objects, if made already, its maker has not.
func (p *plan) shares(maker, refs stream.ThreadRefs) string {
	for _, k := range shareable {
		if ref := *k.ref(&refs); ref != 0 && p.made[ref] && *k.ref(&maker) != ref {
			return k.what
		}
	}
	return ""
}

func (p *plan) sharesWithNone(candidates []int, c *taskModel) (what string) {
	for _, by := range candidates {
		if what = p.shares(p.alive[by].refs, c.refs()); what == "" {
			return ""
		}
	}
	return what
}

// flags are the CLONE_ flags for what two share.
func flags(maker, refs stream.ThreadRefs) (f uint64) {
	for _, k := range shareable {
		if ref := *k.ref(&refs); ref != 0 && *k.ref(&maker) == ref {
			f |= k.flag
		}
	}
	return f
}

// make plans that by makes a child of parent.
func (p *plan) make(parent, by int, c *taskModel, exit unix.Signal) step {
	maker := p.alive[by]
	s := step{kind: stepMake, pid: c.PID, by: by, flags: flags(maker.refs, c.refs()), exit: exit}
	if by != parent {
		s.flags |= unix.CLONE_PARENT
		s.exit = 0
	}
	p.add(c.PID, &being{session: maker.session, parent: parent, refs: c.refs(), exit: exit})
	return s
}

// underSibling has a process made by a sibling that leads its session, and begins
// that earlier than it would.
func (p *plan) underSibling(parent, c *taskModel, session int, exit unix.Signal) []step {
	leader := p.m.byPID[session]
	if leader == nil || leader.parent != parent || leader.SID != session || p.need(leader) != anySession {
		return nil
	}
	b := p.alive[session]
	if b == nil || b.exit != exit || p.shares(b.refs, c.refs()) != "" {
		return nil
	}
	b.session = session
	return []step{{kind: stepSetsid, pid: session}, p.make(parent.PID, session, c, exit)}
}

// underHelper has a process made by a helper that leads its session, whose
// leader has ended.
func (p *plan) underHelper(parent, c *taskModel, session int, exit unix.Signal) []step {
	if session <= 0 || p.m.byPID[session] != nil || p.alive[session] != nil || exit != unix.SIGCHLD {
		return nil
	}
	maker := p.alive[parent.PID]
	shared := stream.ThreadRefs{}
	for _, k := range shareable {
		if ref := *k.ref(&maker.refs); ref == *k.ref(ptr(c.refs())) {
			*k.ref(&shared) = ref
		}
	}
	if p.shares(shared, c.refs()) != "" {
		return nil
	}
	steps := []step{{kind: stepMake, pid: session, by: parent.PID, flags: flags(maker.refs, shared), exit: unix.SIGCHLD}, {kind: stepSetsid, pid: session}}
	p.add(session, &being{session: session, parent: parent.PID, refs: shared, exit: unix.SIGCHLD})
	p.helpers = append(p.helpers, session)
	return append(steps, p.make(parent.PID, session, c, exit))
}

func ptr[T any](v T) *T { return &v }

// adopted has a process born in its session by a helper there, whose end gives
// it to the parent, which must be above.
func (p *plan) adopted(c *taskModel) []step {
	session := p.need(c)
	for _, pid := range p.order {
		b := p.alive[pid]
		if b.session != session || !p.below(pid, c.PPID) || p.shares(stream.ThreadRefs{}, c.refs()) != "" {
			continue
		}
		p.inline--
		p.add(c.PID, &being{session: session, parent: c.PPID, refs: c.refs(), exit: unix.SIGCHLD})
		return []step{
			{kind: stepGather, pid: c.PPID},
			{kind: stepMakeAny, pid: p.inline, by: pid, exit: unix.SIGCHLD},
			{kind: stepMake, pid: c.PID, by: p.inline, exit: unix.SIGCHLD},
			{kind: stepEnd, pid: p.inline},
		}
	}
	p.errs = append(p.errs, noSession(c, session))
	return nil
}

// below reports whether a process descends from another.
func (p *plan) below(pid, ancestor int) bool {
	for b := p.alive[pid]; b != nil; b = p.alive[b.parent] {
		if b.parent == ancestor {
			return true
		}
	}
	return false
}

// planThreads plans the threads of a process beside its first.
func (p *plan) planThreads(t *taskModel) {
	for i, th := range t.threads {
		if i == 0 {
			continue
		}
		by := slices.IndexFunc(t.threads[:i], func(o *threadModel) bool { return p.shares(o.Refs, th.Refs) == "" })
		if by < 0 {
			p.errs = append(p.errs, fmt.Errorf("thread %d of pid %d (%s) shares its %s with no thread of its process but with another process, which can't be restored",
				th.TID, t.PID, t.Comm, p.shares(t.refs(), th.Refs)))
			continue
		}
		maker := t.threads[by]
		p.threads[t.PID] = append(p.threads[t.PID], threadStep{tid: th.TID, by: maker.TID, flags: flags(maker.Refs, th.Refs) &^ (unix.CLONE_VM | unix.CLONE_SIGHAND)})
		for _, k := range shareable {
			p.made[*k.ref(&th.Refs)] = true
		}
	}
}

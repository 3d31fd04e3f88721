package judge

import (
	"fmt"
	"iter"

	"golang.org/x/sys/unix"

	"ckpt/internal/task"
	"ckpt/stream/record"
)

// birth plans how one process is made.
func (p *Plan) birth(parent, c *Task) []Step {
	session := p.birthSession(c)
	if p.bornElsewhere(parent, c, session) {
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
	for by := range p.siblings(parent, session, exit) {
		if fits(by) {
			return []Step{p.make(parent.PID, by, c, exit)}
		}
	}
	if steps := p.underSibling(parent, c, session, exit); steps != nil {
		return steps
	}
	if what := p.sharesWithNone(parent, c, exit); what != "" {
		p.errs = append(p.errs, fmt.Errorf("pid %d (%s) shares its %s with a process that is neither its parent nor a sibling, which can't be restored", c.PID, c.Comm, what))
		return nil
	}
	if steps := p.underHelper(parent, c, session, exit); steps != nil {
		return steps
	}
	p.errs = append(p.errs, noSession(c, session))
	return nil
}

// siblings returns the children that a process has by now, with this exit signal and,
// unless it is anySession, ever in this session.
func (p *Plan) siblings(parent *Task, session int, exit unix.Signal) iter.Seq[int] {
	is := func(pid int) bool {
		p.effort++
		t, b := p.m.ByPID[pid], p.alive[pid]
		return t != nil && t.Parent == parent && b != nil && b.exit == exit
	}
	return func(yield func(int) bool) {
		if session != anySession {
			for _, pid := range p.in[session] {
				if is(pid) && !yield(pid) {
					return
				}
			}
			return
		}
		for _, s := range parent.Children {
			if is(s.PID) && !yield(s.PID) {
				return
			}
		}
	}
}

func noSession(c *Task, session int) error {
	return fmt.Errorf("pid %d (%s) is in session %d, in which its parent, pid %d, never was, and no process in the image explains that; it can't be restored",
		c.PID, c.Comm, session, c.PPID)
}

// bornElsewhere reports whether a process's session is found below its parent, but
// not among its siblings: then it was born there and was reparented.
func (p *Plan) bornElsewhere(parent, c *Task, session int) bool {
	if session == anySession || p.alive[parent.PID].session == session || parent.Session == session {
		return false
	}
	for _, q := range p.kin.inSession(session, parent) {
		p.effort++
		if q.Parent != parent && !p.kin.below(q, c) {
			return true
		}
	}
	return false
}

// shares returns what, of the objects of a process that are made already, its maker
// does not have, or "".
func (p *Plan) shares(maker, refs record.ThreadRefs) string {
	for _, k := range task.Cloned {
		if ref := *k.Ref(&refs); ref != 0 && p.made[ref] && *k.Ref(&maker) != ref {
			return k.What
		}
	}
	return ""
}

// sharesWithNone returns what a process shares with others, but neither with its parent
// nor with any of its siblings, or "".
func (p *Plan) sharesWithNone(parent, c *Task, exit unix.Signal) string {
	what := p.shares(p.alive[parent.PID].refs, p.born(c))
	if what == "" {
		return ""
	}
	for by := range p.siblings(parent, anySession, exit) {
		if what = p.shares(p.alive[by].refs, p.born(c)); what == "" {
			return ""
		}
	}
	return what
}

// flags returns the CLONE_ flags for what two processes share.
func flags(maker, refs record.ThreadRefs) (f uint64) {
	for _, k := range task.Cloned {
		if ref := *k.Ref(&refs); ref != 0 && *k.Ref(&maker) == ref {
			f |= k.Flag
		}
	}
	return f
}

// make plans that by makes c as a child of parent.
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

// underSibling has a process made by a sibling that leads its session. The sibling
// begins the session earlier than it otherwise would.
func (p *Plan) underSibling(parent, c *Task, session int, exit unix.Signal) []Step {
	leader := p.m.ByPID[session]
	if leader == nil || leader.Parent != parent || leader.Session != session || p.birthSession(leader) != anySession {
		return nil
	}
	b := p.alive[session]
	if b == nil || b.exit != exit || p.shares(b.refs, p.born(c)) != "" {
		return nil
	}
	return []Step{p.begin(session), p.make(parent.PID, session, c, exit)}
}

// underHelper has a process made by a helper that leads its session, if the session's
// leader has ended.
func (p *Plan) underHelper(parent, c *Task, session int, exit unix.Signal) []Step {
	if session <= 0 || p.m.ByPID[session] != nil || p.alive[session] != nil || exit != unix.SIGCHLD {
		return nil
	}
	maker := p.alive[parent.PID]
	shared := record.ThreadRefs{}
	for _, k := range task.Cloned {
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

// adopted has a process made by a helper in its session. When the helper ends, the
// process is reparented to its parent, which must be an ancestor.
func (p *Plan) adopted(c *Task) []Step {
	session := p.birthSession(c)
	for _, pid := range p.in[session] {
		p.effort++
		b := p.alive[pid]
		if b.session != session || !p.below(pid, c.Parent) || p.shares(record.ThreadRefs{}, p.born(c)) != "" {
			continue
		}
		p.inline--
		p.add(c.PID, &being{session: session, parent: c.PPID, refs: p.born(c), exit: unix.SIGCHLD})
		return []Step{
			{Kind: StepSubreaper, PID: c.PPID},
			{Kind: StepMakeAny, PID: p.inline, By: pid, Exit: unix.SIGCHLD},
			{Kind: StepMake, PID: c.PID, By: p.inline, Exit: unix.SIGCHLD},
			{Kind: StepEnd, PID: p.inline},
		}
	}
	p.errs = append(p.errs, noSession(c, session))
	return nil
}

// below reports whether a process, which may be a helper, descends from a task.
func (p *Plan) below(pid int, ancestor *Task) bool {
	t := p.m.ByPID[pid]
	if t == nil { // a helper is the child of a task
		t = p.m.ByPID[p.alive[pid].parent]
		return t != nil && p.kin.below(t, ancestor)
	}
	return t != ancestor && p.kin.below(t, ancestor)
}

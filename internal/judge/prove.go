package judge

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/task"
)

// actor is a process or thread on paper: what the kernel would make according to a
// plan.
type actor struct {
	parent, session, group int
	subreaper              bool
	has                    [len(task.Cloned)]int // its objects, by kind, numbered as they are made
	children               []int
}

// outside is the parent of ckpt-apply itself.
const outside = -1 << 31

// simulation carries out a plan on paper.
type simulation struct {
	m       *Model
	actors  map[int]*actor
	members map[int]int // how many processes a process group has
	made    int         // how many objects were made
	effort  int
	errs    []error
}

// prove carries a plan out on paper, by the kernel's rules, and returns an error
// wherever the result is not what was saved. A plan that passes can't fail later by
// its own fault.
func prove(m *Model, p *Plan) []error {
	g := &simulation{m: m, actors: map[int]*actor{}, members: map[int]int{}}
	first := g.fresh(&actor{parent: outside})
	if m.IsInit() { // children of who ends become its own
		first.subreaper = true
		g.actors[m.Tasks[0].PID] = first
		g.enter(first, 0)
	} else {
		g.actors[0] = first
	}
	for _, s := range p.Root {
		g.do(s)
	}
	for _, steps := range p.Births {
		for _, s := range steps {
			g.do(s)
		}
	}
	for _, s := range p.Groups {
		g.do(s)
	}
	for _, t := range m.Tasks {
		for _, s := range p.Threads[t.PID] {
			g.thread(t, s)
		}
	}
	if len(g.errs) == 0 {
		g.compare()
	}
	return g.errs
}

func (g *simulation) fresh(a *actor) *actor {
	for i := range a.has {
		g.made++
		a.has[i] = g.made
	}
	return a
}

func (g *simulation) fail(pid int, format string, args ...any) {
	name := fmt.Sprintf("pid %d", pid)
	if t := g.m.ByPID[pid]; t != nil {
		name = fmt.Sprintf("pid %d (%s)", pid, t.Comm)
	}
	g.errs = append(g.errs, fmt.Errorf("%s can't be restored: %s", name, fmt.Sprintf(format, args...)))
}

func (g *simulation) do(s Step) {
	a := g.actors[s.PID]
	if len(g.errs) > 0 {
		return
	}
	makes := s.Kind == StepMake || s.Kind == StepMakeAny
	if makes != (a == nil) {
		g.fail(s.PID, "its id is needed for another process, too")
		return
	}
	switch s.Kind {
	case StepMake, StepMakeAny:
		g.make(s)
	case StepSetsid:
		if g.members[s.PID] > 0 {
			g.fail(s.PID, "it can't lead session %d, because there is a process group with that id", s.PID)
			return
		}
		a.session = s.PID
		g.enter(a, s.PID)
	case StepSubreaper:
		a.subreaper = true
	case StepUnshare:
		g.split(a, s.Flags)
	case StepGroup:
		g.join(s.PID, a, s.Group)
	case StepEnd:
		g.end(s.PID, a)
	}
}

// make is clone3(2) of a process.
func (g *simulation) make(s Step) {
	by := g.actors[s.By]
	switch {
	case by == nil:
		g.fail(s.PID, "the process that is to make it does not exist")
		return
	case s.Flags&unix.CLONE_SIGHAND != 0 && s.Flags&unix.CLONE_VM == 0:
		g.fail(s.PID, "it shares signal actions, but not memory, with another process")
		return
	case g.members[s.PID] > 0 || g.m.ByTID[s.PID] != nil && g.m.ByTID[s.PID].PID != s.PID:
		g.fail(s.PID, "its id is also that of a process group or a thread")
		return
	}
	a := &actor{parent: s.By, session: by.session, has: by.has}
	if s.Flags&unix.CLONE_PARENT != 0 {
		a.parent = by.parent
	}
	g.split(a, ^s.Flags)
	g.actors[s.PID] = a
	g.enter(a, by.group)
	if of := g.actors[a.parent]; of != nil {
		of.children = append(of.children, s.PID)
	}
}

// split gives an actor objects of its own for the kinds of these flags.
func (g *simulation) split(a *actor, flags uint64) {
	for i, k := range task.Cloned {
		if flags&k.Flag != 0 {
			g.made++
			a.has[i] = g.made
		}
	}
}

func (g *simulation) enter(a *actor, group int) {
	g.members[a.group]--
	a.group = group
	g.members[group]++
}

// join is setpgid(2), called by the process itself.
func (g *simulation) join(pid int, a *actor, group int) {
	switch t := g.m.ByPID[pid]; {
	case a.session == pid:
		g.fail(pid, "it leads session %d and can't enter process group %d", pid, group)
	case group != pid && g.members[group] <= 0:
		g.fail(pid, "process group %d does not exist", group)
	case group != pid && g.sessionOf(group) != a.session && t != nil:
		g.errs = append(g.errs, wrongGroup(t, "it belongs to another session"))
	default:
		g.enter(a, group)
	}
}

// sessionOf returns the session of a process group, which is that of the process with
// its id.
func (g *simulation) sessionOf(group int) int {
	if a := g.actors[group]; a != nil {
		return a.session
	}
	return -1
}

// end ends a helper: its children are reparented to the next subreaper.
func (g *simulation) end(pid int, a *actor) {
	to := a.parent
	for up := g.actors[to]; up != nil && !up.subreaper; up = g.actors[to] {
		if g.effort++; g.effort > maxEffort {
			g.errs = append(g.errs, errIntricate)
			return
		}
		to = up.parent
	}
	for _, c := range a.children {
		g.actors[c].parent = to
		if of := g.actors[to]; of != nil {
			of.children = append(of.children, c)
		}
	}
	g.members[a.group]--
	delete(g.actors, pid)
}

// thread is clone3(2) of a thread.
func (g *simulation) thread(t *Task, s ThreadStep) {
	by := g.actors[s.By]
	if by == nil || g.actors[s.TID] != nil {
		g.fail(t.PID, "the id of its thread %d is needed for another thread or process, too", s.TID)
		return
	}
	a := &actor{has: by.has}
	g.split(a, ^(s.Flags | unix.CLONE_VM | unix.CLONE_SIGHAND))
	g.actors[s.TID] = a
}

// compare compares the result with what was saved.
func (g *simulation) compare() {
	type object struct {
		kind int
		made int
	}
	refs, objects := map[object]uint64{}, map[uint64]object{}
	for i, t := range g.m.Tasks {
		a := g.actors[t.PID]
		switch {
		case a == nil:
			g.fail(t.PID, "no process makes it")
			continue
		case i > 0 && a.parent != t.PPID:
			g.fail(t.PID, "it would not be a child of pid %d", t.PPID)
		case a.session != t.Session:
			g.fail(t.PID, "it would not be in session %d", t.Session)
		case a.group != t.Group:
			g.fail(t.PID, "it would not be in process group %d", t.Group)
		}
		for _, th := range t.Threads {
			a := g.actors[th.TID]
			if a == nil {
				g.fail(t.PID, "no thread makes its thread %d", th.TID)
				continue
			}
			for kind, k := range task.Cloned {
				ref, obj := *k.Ref(&th.Refs), object{kind, a.has[kind]}
				if ref == 0 {
					continue
				}
				was, seen := refs[obj]
				if at, ok := objects[ref]; seen != ok || seen && (was != ref || at != obj) {
					g.fail(t.PID, "its %s would not be shared with the same processes", k.What)
				}
				refs[obj], objects[ref] = ref, obj
			}
		}
	}
}

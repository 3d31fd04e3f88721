package judge

import (
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/task"
	"ckpt/stream"
	"ckpt/stream/record"
)

// script is a fuzzer's input, read from the front. After its end come zeros.
type script struct{ b []byte }

func (s *script) next() byte {
	if len(s.b) == 0 {
		return 0
	}
	c := s.b[0]
	s.b = s.b[1:]
	return c
}

// below returns a number from 0 to n-1.
func (s *script) below(n int) int {
	if n <= 1 {
		return 0
	}
	return int(s.next()) % n
}

const (
	firstPID     = 4000000 // higher than a system assigns by itself
	mostInForest = 40
)

// family makes the model of a tree from bytes, by way of records. Each process takes
// ten bytes: whose child it is, its session and group, what it is, what it shares with
// whom, and its threads.
func family(t *testing.T, s *script) *Model {
	m := New(&record.Header{})
	add := func(typ record.Type, meta any) bool {
		rec, err := stream.New(typ, meta)
		if err != nil {
			t.Fatal(err)
		}
		return m.Add(rec) == nil
	}
	const exe, cwd = 1, 2
	if !add(record.TypeReg, &record.Reg{Object: record.Object{Objref: exe}}) || !add(record.TypeDir, &record.Dir{Object: record.Object{Objref: cwd}}) {
		t.Fatal("a file is refused")
	}
	last := uint64(cwd)
	objects := [len(task.Cloned)][]uint64{}
	object := func(kind, of int) uint64 {
		if of < len(objects[kind]) {
			return objects[kind][of]
		}
		last++
		o := record.Object{Objref: last}
		meta := map[record.Type]any{record.TypeMM: &record.MM{Object: o, Refs: record.ExeRef{Exe: exe}}, record.TypeSigactions: &record.Sigactions{Object: o}, record.TypeFDTable: &record.FDTable{Object: o},
			record.TypeFS: &record.FS{Object: o, Refs: record.FSRefs{Cwd: cwd}}, record.TypeIOCtx: &record.IOCtx{Object: o}, record.TypeSemUndo: &record.SemUndo{Object: o}}
		if !add(task.Cloned[kind].Type, meta[task.Cloned[kind].Type]) {
			t.Fatal("an object is refused")
		}
		objects[kind] = append(objects[kind], last)
		return last
	}
	refs := func(what byte) (r record.ThreadRefs) {
		for kind, k := range task.Cloned {
			own := len(objects[kind])
			if what>>kind&1 != 0 {
				own = s.below(own + 1)
			}
			if !k.Optional || what>>6&1 != 0 {
				*k.Ref(&r) = object(kind, own)
			}
		}
		return r
	}
	tid := firstPID + mostInForest
	for i := 0; i < mostInForest && len(s.b) > 0; i++ {
		pid := func() int { return firstPID - 2 + s.below(i+3) } // two that are dead, those before, or itself
		p := record.Task{PID: firstPID + i, PPID: firstPID - 1, ExitSignal: int(unix.SIGCHLD)}
		if i > 0 {
			p.PPID = m.Tasks[s.below(len(m.Tasks))].PID
		}
		p.SID, p.PGID = pid(), pid()
		what := s.next()
		p.Zombie, p.SIDOutside, p.PGIDOutside = i > 0 && what&7 == 7, what&0x18 == 0x18, what&0x60 == 0x60
		if what&0x80 != 0 {
			p.ExitSignal = s.below(3)
		}
		if !add(record.TypeTask, &p) || p.Zombie {
			continue
		}
		r := refs(s.next())
		threads := s.below(3)
		for n := range 1 + threads {
			th := record.Thread{PID: p.PID, TID: p.PID, Refs: r}
			if n > 0 {
				tid++
				th.TID, th.Refs = tid, refs(s.next())
				th.Refs.MM, th.Refs.Sighand = r.MM, r.Sighand
			}
			if !add(record.TypeThread, &th) {
				t.Fatalf("thread %d is refused", th.TID)
			}
		}
	}
	return m
}

// FuzzPlan: any tree is planned or refused, and carrying out a plan by the kernel's
// rules leads to that tree.
func FuzzPlan(f *testing.F) {
	f.Add([]byte{0, 2, 2, 0, 0, 0})
	f.Add([]byte("\x02\x02\x00\x00\x00\x00\x02\x02\x00\x3f\x00\x00\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09"))
	f.Add([]byte("\x02\x02\x00\x7f\x00\x00\x00\x00\x00\x00\x02\x00\x03\x03\x07\x00\x04\x04\x00\x7f\x01\x01\x01\x01\x01\x01\x00"))
	f.Add([]byte("\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x01\x02\x00\x04\x00\x00\x02\x03\x00\x00\x04\x00\x00\x01"))
	f.Add([]byte("\x02\x02\x1f\x40\x02\x40\x40\x00\x03\x03\x60\x7f\x00\x00\x00\x00\x00\x00\x01\x04\x01\x01\x18\x3f\x02\x02\x02\x02\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := family(t, &script{b})
		if m.hasRoot() != nil {
			return
		}
		for i := range 8 {
			m.assignSessions(sessionPolicy{inherit: i&1 != 0, detach: i&2 != 0, terminal: i&4 != 0, note: func(string, ...any) {}})
			if p := makePlan(m); len(p.errs) == 0 {
				uphold(t, m, p)
			}
		}
	})
}

// body is a process or thread while a plan is carried out.
type body struct {
	parent, session, group int
	has                    record.ThreadRefs // numbered here
	subreaper              bool
}

// world carries out a plan, in the simplest way and independently of prove.
type world struct {
	t       *testing.T
	bodies  map[int]*body
	objects uint64
}

func (w *world) alone(flags uint64, has record.ThreadRefs) record.ThreadRefs {
	for _, k := range task.Cloned {
		if flags&k.Flag == 0 {
			w.objects++
			*k.Ref(&has) = w.objects
		}
	}
	return has
}

func (w *world) make(s Step) {
	by := w.bodies[s.By]
	if by == nil || w.bodies[s.PID] != nil {
		w.t.Fatalf("%d is made by %d: is the maker there? %v; is it itself? %v", s.PID, s.By, by != nil, w.bodies[s.PID] != nil)
	}
	if s.Flags&unix.CLONE_SIGHAND != 0 && s.Flags&unix.CLONE_VM == 0 {
		w.t.Fatalf("clone of %d with CLONE_SIGHAND and without CLONE_VM", s.PID)
	}
	b := &body{parent: s.By, session: by.session, group: by.group, has: w.alone(s.Flags, by.has)}
	if s.Flags&unix.CLONE_PARENT != 0 {
		b.parent = by.parent
	}
	w.bodies[s.PID] = b
}

func (w *world) inGroup(id int) (session int, is bool) {
	for _, b := range w.bodies {
		if b.group == id {
			return b.session, true
		}
	}
	return 0, false
}

func (w *world) take(s Step) {
	b := w.bodies[s.PID]
	if b == nil && s.Kind != StepMake && s.Kind != StepMakeAny {
		w.t.Fatalf("%d is not there for step %d", s.PID, s.Kind)
	}
	switch s.Kind {
	case StepMake, StepMakeAny:
		w.make(s)
	case StepSetsid:
		if _, is := w.inGroup(s.PID); is {
			w.t.Fatalf("%d can't begin a session, there is a group of that id", s.PID)
		}
		b.session, b.group = s.PID, s.PID
	case StepSubreaper:
		b.subreaper = true
	case StepUnshare:
		b.has = w.alone(^s.Flags, b.has)
	case StepGroup:
		session, is := w.inGroup(s.Group)
		if b.session == s.PID || s.Group != s.PID && (!is || session != b.session) {
			w.t.Fatalf("%d of session %d can't enter group %d of session %d", s.PID, b.session, s.Group, session)
		}
		b.group = s.Group
	case StepEnd:
		delete(w.bodies, s.PID)
		to := b.parent
		for w.bodies[to] != nil && !w.bodies[to].subreaper {
			to = w.bodies[to].parent
		}
		for _, c := range w.bodies {
			if c.parent == s.PID {
				c.parent = to
			}
		}
	}
}

// uphold carries out a plan and compares the result.
func uphold(t *testing.T, m *Model, p *Plan) {
	t.Helper()
	w := &world{t: t, bodies: map[int]*body{0: {parent: -1 << 40}}}
	for _, steps := range append(append([][]Step{p.Root}, p.Births...), p.Groups) {
		for _, s := range steps {
			w.take(s)
		}
	}
	for _, task := range m.Tasks {
		for _, s := range p.Threads[task.PID] {
			if w.bodies[s.By] == nil || w.bodies[s.TID] != nil {
				t.Fatalf("thread %d is made by %d", s.TID, s.By)
			}
			w.bodies[s.TID] = &body{has: w.alone(s.Flags|unix.CLONE_VM|unix.CLONE_SIGHAND, w.bodies[s.By].has)}
		}
	}
	was, now := map[uint64]uint64{}, map[uint64]uint64{}
	for i, p := range m.Tasks {
		b := w.bodies[p.PID]
		if b == nil || i > 0 && b.parent != p.PPID || b.session != p.Session || b.group != p.Group {
			t.Fatalf("%d should be a child of %d in session %d and group %d, and is %+v", p.PID, p.PPID, p.Session, p.Group, b)
		}
		for _, th := range p.Threads {
			b := w.bodies[th.TID]
			if b == nil {
				t.Fatalf("thread %d is not made", th.TID)
			}
			for _, k := range task.Cloned {
				ref, got := *k.Ref(&th.Refs), *k.Ref(&b.has)
				if ref == 0 {
					continue
				}
				if r, ok := now[got]; ok && r != ref || was[ref] != 0 && was[ref] != got {
					t.Fatalf("thread %d has the %s of others than it had", th.TID, k.What)
				}
				now[got], was[ref] = ref, got
			}
		}
	}
}

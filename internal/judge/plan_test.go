package judge

import (
	"cmp"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/stream/record"
)

// person is a process of a test's model.
type person struct {
	pid, ppid, sid int
	files          uint64 // its descriptor table; 0 for one of its own
	pgid           int    // 0 for that of the session leader
}

func modelOf(people ...person) *Model {
	m := &Model{ByPID: map[int]*Task{}, ByTID: map[int]*Thread{}}
	for i, p := range people {
		t := &Task{Task: record.Task{PID: p.pid, PPID: p.ppid, SID: p.sid, ExitSignal: int(unix.SIGCHLD)}, Session: p.sid, Group: cmp.Or(p.pgid, p.sid)}
		own := uint64(1000 * (i + 1))
		refs := record.ThreadRefs{MM: own, Sighand: own + 1, FS: own + 2, Files: p.files}
		if p.files == 0 {
			refs.Files = own + 3
		}
		t.Threads = []*Thread{{Thread: record.Thread{PID: p.pid, TID: p.pid, Refs: refs}}}
		if i > 0 {
			t.Parent = m.ByPID[p.ppid]
			t.Parent.Children = append(t.Parent.Children, t)
		}
		m.Tasks = append(m.Tasks, t)
		m.ByPID[p.pid] = t
	}
	return m
}

// play carries a plan out on paper: which session each process is in at the end, whose
// child it is, and which descriptor table it has.
func play(t *testing.T, m *Model, p *Plan) (session, parent, table map[int]int) {
	t.Helper()
	session, parent, table = map[int]int{0: 0}, map[int]int{0: 1}, map[int]int{0: 1}
	tables := 1
	take := func(s Step) {
		switch s.Kind {
		case StepMake, StepMakeAny:
			by, ok := session[s.By]
			if _, twice := session[s.PID]; !ok || twice {
				t.Fatalf("%d is made by %d: maker there %v, made twice %v", s.PID, s.By, ok, twice)
			}
			session[s.PID], parent[s.PID] = by, s.By
			if table[s.PID] = table[s.By]; s.Flags&unix.CLONE_FILES == 0 {
				tables++
				table[s.PID] = tables
			}
			if s.Flags&unix.CLONE_PARENT != 0 {
				parent[s.PID] = parent[s.By]
			}
		case StepSetsid:
			if session[s.PID] == s.PID {
				t.Fatalf("%d begins a session twice", s.PID)
			}
			session[s.PID] = s.PID
		case StepUnshare:
			tables++
			table[s.PID] = tables
		case StepEnd:
			for pid, of := range parent {
				if of == s.PID { // to the subreaper
					parent[pid] = m.ByPID[pid].PPID
				}
			}
			delete(session, s.PID)
		}
	}
	for _, s := range p.Root {
		take(s)
	}
	for _, steps := range p.Births {
		for _, s := range steps {
			take(s)
		}
	}
	return session, parent, table
}

func TestPlan(t *testing.T) {
	for name, people := range map[string][]person{
		"one":                        {{10, 1, 10, 0, 0}},
		"in the outer session":       {{10, 1, 0, 0, 0}, {11, 10, 0, 0, 0}, {12, 11, 12, 0, 0}},
		"child before setsid":        {{10, 1, 0, 0, 0}, {11, 10, 11, 0, 0}, {12, 11, 0, 0, 0}, {13, 11, 11, 0, 0}},
		"dead leader":                {{10, 1, 10, 0, 0}, {11, 10, 10, 0, 0}, {12, 11, 5, 0, 0}, {13, 12, 5, 0, 0}},
		"dead leader of the root":    {{10, 1, 5, 0, 0}, {11, 10, 5, 0, 0}},
		"two dead leaders":           {{10, 1, 10, 0, 0}, {11, 10, 5, 0, 0}, {12, 10, 6, 0, 0}, {13, 10, 5, 0, 0}},
		"sibling leads":              {{10, 1, 10, 0, 0}, {11, 10, 11, 0, 0}, {12, 10, 11, 0, 0}},
		"adopted":                    {{10, 1, 10, 0, 0}, {11, 10, 10, 0, 0}, {12, 11, 12, 0, 0}, {13, 12, 12, 0, 0}, {14, 10, 12, 0, 0}},
		"adopted from a leader":      {{10, 1, 10, 0, 0}, {11, 10, 10, 0, 0}, {12, 11, 12, 0, 0}, {14, 10, 12, 0, 0}},
		"table shared with parent":   {{10, 1, 10, 7, 0}, {11, 10, 10, 7, 0}, {12, 11, 10, 7, 0}},
		"table shared by siblings":   {{10, 1, 10, 0, 0}, {11, 10, 10, 7, 0}, {12, 10, 10, 7, 0}},
		"table carried":              {{10, 1, 10, 7, 0}, {11, 10, 10, 0, 0}, {12, 11, 10, 7, 0}},
		"table carried far":          {{10, 1, 10, 7, 0}, {11, 10, 10, 0, 0}, {12, 11, 10, 0, 0}, {13, 12, 10, 7, 0}},
		"table shared with a cousin": {{10, 1, 10, 0, 0}, {11, 10, 10, 0, 0}, {12, 11, 10, 7, 0}, {13, 10, 10, 0, 0}, {14, 13, 10, 7, 0}},
		"table carried, then shared": {{10, 1, 10, 7, 0}, {11, 10, 10, 8, 0}, {12, 11, 10, 7, 0}, {13, 11, 10, 8, 0}},
		"carried over setsid":        {{10, 1, 10, 7, 0}, {11, 10, 11, 8, 0}, {12, 11, 10, 7, 0}, {13, 11, 11, 7, 0}, {14, 11, 11, 8, 0}},
		"left before setsid":         {{10, 1, 10, 7, 0}, {11, 10, 11, 8, 0}, {12, 11, 10, 7, 0}, {13, 11, 10, 8, 0}, {14, 11, 11, 8, 0}},
		"groups of each other":       {{10, 1, 10, 0, 0}, {11, 10, 10, 0, 12}, {12, 10, 10, 0, 11}},
		"group of a dead leader":     {{10, 1, 10, 0, 0}, {11, 10, 10, 0, 7}, {12, 11, 10, 0, 7}},
		"child leads the group":      {{10, 1, 5, 0, 12}, {11, 10, 5, 0, 12}, {12, 11, 5, 0, 12}},
		"born in a cousin's session": {{10, 1, 10, 0, 0}, {11, 10, 11, 0, 0}, {12, 10, 12, 0, 0}, {13, 12, 11, 0, 0}},
		"a session and a table too":  {{10, 1, 10, 7, 0}, {11, 10, 11, 7, 0}, {12, 11, 11, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			m := modelOf(people...)
			p := makePlan(m)
			for _, err := range p.errs {
				t.Fatal(err)
			}
			session, parent, table := play(t, m, p)
			made := map[uint64]int{}
			for i, who := range people {
				if session[who.pid] != who.sid {
					t.Errorf("%d is in session %d, not %d", who.pid, session[who.pid], who.sid)
				}
				if i > 0 && parent[who.pid] != who.ppid {
					t.Errorf("%d is a child of %d, not %d", who.pid, parent[who.pid], who.ppid)
				}
				if ref := m.ByPID[who.pid].Refs().Files; made[ref] == 0 {
					made[ref] = table[who.pid]
				} else if made[ref] != table[who.pid] {
					t.Errorf("%d has not the table of %d", who.pid, who.files)
				}
			}
		})
	}
}

// TestPlanRefuses: trees that clone(2) can't produce are refused.
func TestPlanRefuses(t *testing.T) {
	for name, people := range map[string][]person{
		"table joined again":         {{10, 1, 10, 7, 0}, {11, 10, 10, 8, 0}, {12, 11, 10, 8, 0}, {13, 12, 10, 7, 0}},
		"group of another session":   {{10, 1, 10, 0, 0}, {11, 10, 11, 0, 0}, {12, 10, 10, 0, 11}},
		"leader of another's group":  {{10, 1, 10, 0, 0}, {11, 10, 11, 0, 10}},
		"session of an elder cousin": {{10, 1, 10, 0, 0}, {11, 10, 10, 0, 0}, {12, 11, 12, 0, 0}, {13, 10, 10, 0, 0}, {14, 13, 12, 0, 0}},
	} {
		if p := makePlan(modelOf(people...)); len(p.errs) != 1 {
			t.Errorf("%s: %v", name, p.errs)
		}
	}
}

// TestPlanAnything plans trees that nobody ever saw: if there is no error, each process
// is made once, by one that exists.
func TestPlanAnything(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	planned := 0
	for range 3000 {
		people := []person{{10, 1, []int{0, 10, 5}[rng.IntN(3)], 0, 0}}
		for pid := 11; pid < 11+rng.IntN(8); pid++ {
			sids := []int{0, 5, 6, 10, pid, people[rng.IntN(len(people))].pid}
			people = append(people, person{pid, people[rng.IntN(len(people))].pid, sids[rng.IntN(len(sids))], uint64(rng.IntN(3)), 0})
		}
		m := modelOf(people...)
		p := makePlan(m)
		if len(p.errs) > 0 {
			continue
		}
		planned++
		session, _, _ := play(t, m, p)
		for _, who := range people {
			if session[who.pid] != who.sid {
				t.Fatalf("%v: %d is in session %d", people, who.pid, session[who.pid])
			}
		}
	}
	if planned < 100 {
		t.Errorf("only %d of them could be planned", planned)
	}
}

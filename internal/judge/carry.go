package judge

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/task"
	"ckpt/stream/record"
)

// kinship says who descends from whom.
type kinship struct {
	order      []*Task // depth first
	begin, end map[*Task]int
	sessions   map[int][]*Task // in the same order
}

func kinshipOf(m *Model) *kinship {
	k := &kinship{begin: map[*Task]int{}, end: map[*Task]int{}, sessions: map[int][]*Task{}}
	for todo := []*Task{m.Tasks[0]}; len(todo) > 0; {
		t := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		k.begin[t] = len(k.order)
		k.order = append(k.order, t)
		for _, c := range slices.Backward(t.Children) {
			todo = append(todo, c)
		}
	}
	for i, t := range slices.Backward(k.order) {
		k.end[t] = i + 1
		if n := len(t.Children); n > 0 {
			k.end[t] = k.end[t.Children[n-1]]
		}
	}
	for _, t := range k.order {
		k.sessions[t.Session] = append(k.sessions[t.Session], t)
	}
	return k
}

// below reports whether a process is another one or descends from it.
func (k *kinship) below(t, ancestor *Task) bool {
	return k.begin[ancestor] <= k.begin[t] && k.begin[t] < k.end[ancestor]
}

// inSession returns the descendants of a process that are in a session.
func (k *kinship) inSession(session int, ancestor *Task) []*Task {
	all := k.sessions[session]
	from := func(n int) int {
		i, _ := slices.BinarySearchFunc(all, n, func(t *Task, n int) int { return k.begin[t] - n })
		return i
	}
	return all[from(k.begin[ancestor]+1):from(k.end[ancestor])]
}

// leavable are the kinds of sharing that unshare(2) ends without side effects.
const leavable = unix.CLONE_FILES | unix.CLONE_FS | unix.CLONE_SYSVSEM

// span reaches from the first to the last user of an object, in the order of kinship.
type span struct{ first, last int }

// findCarried finds what a process must be born with although it does not have it any
// more: what one of its children shares with others than the process's descendants.
// The process had that, too, before it called unshare(2) or execve(2).
func (p *Plan) findCarried() {
	spans := map[uint64]span{}
	for i, t := range p.kin.order {
		for _, th := range t.Threads {
			for _, k := range task.Cloned {
				ref := *k.Ref(&th.Refs)
				if s, ok := spans[ref]; !ok {
					spans[ref] = span{i, i}
				} else {
					spans[ref] = span{s.first, i}
				}
			}
		}
	}
	for _, t := range slices.Backward(p.kin.order) {
		refs := t.Refs()
		for _, c := range t.Children {
			born := p.born(c)
			for _, k := range task.Cloned {
				ref := *k.Ref(&born)
				s := spans[ref]
				if ref != 0 && k.Flag&leavable != 0 && ref != *k.Ref(ptr(t.Refs())) && (s.first < p.kin.begin[t] || s.last >= p.kin.end[t]) {
					*k.Ref(&refs) = ref
				}
			}
		}
		if refs != t.Refs() {
			p.births[t] = refs
		}
	}
}

// born returns what a process is born with.
func (p *Plan) born(t *Task) record.ThreadRefs {
	if refs, ok := p.births[t]; ok {
		return refs
	}
	return t.Refs()
}

// leave has a process exchange what it only carried for its children for what it has
// itself. Nobody else may have that yet.
func (p *Plan) leave(t *Task) []Step {
	b, refs := p.alive[t.PID], t.Refs()
	s := Step{Kind: StepUnshare, PID: t.PID}
	for _, k := range task.Cloned {
		ref := *k.Ref(&refs)
		if ref == *k.Ref(&b.refs) {
			continue
		}
		if ref != 0 && p.made[ref] {
			p.errs = append(p.errs, fmt.Errorf("pid %d (%s) and its children share a different %s with other processes, which can't be restored", t.PID, t.Comm, k.What))
			return nil
		}
		s.Flags |= k.Flag
		p.made[ref] = true
	}
	b.refs = refs
	return []Step{s}
}

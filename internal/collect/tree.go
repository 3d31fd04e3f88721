package collect

import (
	"errors"
	"maps"
	"slices"

	"ckpt/internal/parallel"
	"ckpt/internal/proc"
	"ckpt/internal/tracee"
)

// read reads the status of all processes, now that they are stopped, sorts them, and lets
// those go that are no longer part of the tree.
func (t *tree) read() error {
	err := parallel.Each(len(t.procs), func(i int) (err error) {
		p := t.procs[i]
		slices.SortStableFunc(p.threads, func(a, b *tracee.Tracee) int {
			return rank(p, a) - rank(p, b)
		})
		if p.stat, err = proc.ReadStat(p.pid); err != nil || !p.headless() {
			return err
		}
		of, err := proc.ReadStat(p.at())
		p.stat.TakeMemory(&of)
		return err
	})
	if err != nil {
		return err
	}
	t.sort()
	return t.letStraysGo()
}

// sort puts each parent before its children, and older children before younger ones.
// Children that were reparented come last, because relatives of their first parent help
// to restore them. Processes that don't descend from the root are left out.
func (t *tree) sort() {
	root := t.root()
	children := map[*process][]*process{}
	for _, p := range t.procs {
		if p == root {
			continue
		}
		// Set it again, because its parent may have ended before it could be stopped.
		if p.parent = t.byPID[p.stat.PPID]; p.parent != nil {
			children[p.parent] = append(children[p.parent], p)
		}
	}
	odd := map[*process]int{}
	for _, p := range t.procs {
		if p.parent != nil {
			odd[p] = t.reparented(p)
		}
	}
	t.procs = nil
	var visit func(p *process)
	visit = func(p *process) {
		t.procs = append(t.procs, p)
		list := children[p]
		slices.SortStableFunc(list, func(a, b *process) int {
			if odd[a] != odd[b] {
				return odd[a] - odd[b]
			}
			if a.stat.StartTime != b.stat.StartTime {
				return int(int64(a.stat.StartTime) - int64(b.stat.StartTime))
			}
			return a.pid - b.pid
		})
		for _, c := range list {
			visit(c)
		}
	}
	visit(root)
}

// letStraysGo releases processes that are no longer descendants, because their parent
// ended before it could be stopped.
func (t *tree) letStraysGo() error {
	inside := make(map[*process]bool, len(t.procs))
	for _, p := range t.procs {
		inside[p] = true
	}
	var strays []*tracee.Tracee
	for _, pid := range slices.Sorted(maps.Keys(t.byPID)) {
		p := t.byPID[pid]
		if !inside[p] {
			strays = append(strays, p.threads...)
			delete(t.byPID, pid)
		}
	}
	return errors.Join(t.group.Release(strays), t.group.ReleaseOthers())
}

func rank(p *process, t *tracee.Tracee) int {
	if t.TID == p.pid {
		return 0
	}
	return t.TID
}

// reparented returns 1 for a process that was reparented: then others of its session are
// below its parent, but not among its siblings.
func (t *tree) reparented(p *process) int {
	session := p.stat.Session
	if session == p.pid || session == p.parent.stat.Session {
		return 0
	}
	for _, q := range t.procs {
		if q.stat.Session == session && q.parent != p.parent && below(q, p.parent) && !below(q, p) {
			return 1
		}
	}
	return 0
}

func below(p, ancestor *process) bool {
	for p = p.parent; p != nil; p = p.parent {
		if p == ancestor {
			return true
		}
	}
	return false
}

package judge

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/proc"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// NewIDs gives the tasks of a stream other process ids, which are free here. What the
// programs have in their memory does not follow.
type NewIDs struct {
	of    map[int]int // by those in the stream
	was   map[int]int
	held  []*stream.Record // until all ids are known
	bytes int64            // about how much memory they take
}

// Was returns the id that a task with a new one has in the stream.
func (n *NewIDs) Was(id int) int {
	if n == nil {
		return id
	}
	return n.was[id]
}

// hold keeps a record for addAll.
func (n *NewIDs) hold(rec *stream.Record) error {
	n.held = append(n.held, rec)
	return count(&n.bytes, rec)
}

// addAll chooses the ids and adds the records to a model.
func (n *NewIDs) addAll(m *Model) error {
	own, named, err := n.needed()
	if err != nil {
		return err
	}
	free, err := freeIDs(len(own), named)
	if err != nil {
		return err
	}
	n.of, n.was = map[int]int{}, map[int]int{}
	for i, id := range own { // in the same order
		n.of[id], n.was[free[i]] = free[i], id
	}
	m.New = n
	n.change(&m.Header)
	for i, rec := range n.held {
		n.held[i] = nil
		err := n.Change(rec)
		if err == nil {
			err = m.Add(rec)
		}
		if err != nil {
			return fmt.Errorf("record %d (%s): %w", i+1, rec.Type, err)
		}
	}
	n.held = nil
	return nil
}

// needed returns the ids that the tree needs, ascending, and all that records name.
func (n *NewIDs) needed() (own []int, named map[int]bool, err error) {
	needed := map[int]bool{}
	named = map[int]bool{}
	for i, rec := range n.held {
		meta, err := metaOf(rec)
		if err != nil {
			return nil, nil, fmt.Errorf("record %d (%s): %w", i+1, rec.Type, err)
		}
		if meta == nil {
			continue
		}
		record.EachID(meta, func(id record.ID) { named[id.Get()] = true })
		switch t := meta.(type) {
		case *record.Task:
			needed[t.PID] = true
			needed[t.SID] = needed[t.SID] || !t.SIDOutside
			needed[t.PGID] = needed[t.PGID] || !t.PGIDOutside
		case *record.Thread:
			needed[t.TID] = true
		}
	}
	maps.DeleteFunc(needed, func(id int, is bool) bool { return !is || id <= 0 })
	return slices.Sorted(maps.Keys(needed)), named, nil
}

// Change replaces the ids in a record.
func (n *NewIDs) Change(rec *stream.Record) error {
	meta, err := metaOf(rec)
	if meta == nil || err != nil || !n.change(meta) {
		return err
	}
	rec.Meta, err = stream.Marshal(meta)
	return err
}

func (n *NewIDs) change(meta any) (changed bool) {
	record.EachID(meta, func(id record.ID) {
		if to := n.of[id.Get()]; to != 0 {
			id.Set(to)
			changed = true
		}
	})
	return changed
}

// metaOf decodes a record of a known type into what nobody else has; nil if it is of
// another.
func metaOf(rec *stream.Record) (any, error) {
	info := record.Lookup(rec.Type)
	if info == nil {
		return nil, nil
	}
	meta := info.New()
	return meta, stream.Unmarshal(rec.Meta, meta)
}

// freeIDs returns process ids that nobody has, ascending, and that are not among those
// that others must not have. They begin at a random place: somebody else may be looking
// for some at the same time.
func freeIDs(n int, not map[int]bool) ([]int, error) {
	most, err := proc.ReadSysctl("kernel/pid_max")
	if err != nil {
		return nil, err
	}
	end := int(min(most, maxPID))
	session := sessions()
	var free []int
	first := ReservedPIDs + rand.IntN(max(end-ReservedPIDs, 1))
	for i := range end - ReservedPIDs {
		if len(free) == n {
			break
		}
		id := ReservedPIDs + (first-ReservedPIDs+i)%(end-ReservedPIDs)
		if !not[id] && session[id] == 0 && unix.Kill(id, 0) == unix.ESRCH && unix.Kill(-id, 0) == unix.ESRCH {
			free = append(free, id)
		}
	}
	if len(free) < n {
		return nil, &Refused{[]error{fmt.Errorf("the tree needs %d process ids, but only %d are free here", n, len(free))}}
	}
	slices.Sort(free)
	return free, nil
}

// ReservedPIDs is RESERVED_PIDS of kernel/pid.c: when ids begin anew, those below are left
// out.
const ReservedPIDs = 300

// remembered returns an error for each thread that waits in a system call for which its
// memory or registers hold an id that is another now.
func (m *Model) remembered() (reasons []error) {
	if m.New == nil {
		return nil
	}
	for _, t := range m.Tasks {
		for _, th := range t.Threads {
			var g record.Regs
			rec := th.Resources[record.TypeRegs]
			if rec == nil || rec.Decode(&g) != nil {
				continue // which is reported elsewhere
			}
			regs, err := tracee.DecodeRegs(g.GP)
			if err != nil {
				continue
			}
			switch id, pi := regs.AwaitedTask(), regs.AwaitsPI(); {
			case id != 0 && m.New.of[id] != 0:
				reasons = append(reasons, cli.WithHint(fmt.Errorf("pid %d (%s), thread %d: it waits for process %d by that id, which would be another", m.New.Was(t.PID), t.Comm, m.New.Was(th.TID), id), task.KeepIDs))
			case pi:
				reasons = append(reasons, cli.WithHint(fmt.Errorf("pid %d (%s), thread %d: it waits for a mutex with priority inheritance, in which the id of another thread stands that would be another", m.New.Was(t.PID), t.Comm, m.New.Was(th.TID)), task.KeepIDs))
			}
		}
	}
	return reasons
}

// Told tells the new ids, in the order of the tree.
func (n *NewIDs) Told(tasks []*Task) string {
	var text string
	for i, t := range tasks {
		if i == mostTold {
			return fmt.Sprintf("%s and %d more", text, len(tasks)-i)
		}
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("pid %d (%s) is %d now", n.Was(t.PID), t.Comm, t.PID)
	}
	return text
}

// mostTold is how many of them Told names.
const mostTold = 8

package judge

import (
	"fmt"
	"slices"
)

// What becomes of sessions and groups whose leader is outside of the image.
const (
	SessionNew     = "new"     // the root leads a session of its own
	SessionInherit = "inherit" // they are ckpt-apply's
)

// placing is what decides about them.
type placing struct {
	inherit  bool
	detach   bool
	terminal bool // the program uses ckpt-apply's terminal, and must be in its session
	note     func(format string, args ...any)
}

// place decides which session and group of ours takes the place of those whose
// leader is not in the image; 0 are ckpt-apply's own.
func (m *Model) place(by placing) {
	root := m.Tasks[0]
	sid, pgid := root.SID, root.PGID
	outside := func(t *Task) bool { return t.SIDOutside || t.SID == 0 }
	lead := !by.inherit && !by.terminal && (outside(root) || by.detach)
	if lead && root.SID != root.PID {
		was := fmt.Sprintf("session %d, whose leader is not in the image", root.SID)
		if root.SID == 0 {
			was = "a session from outside of its pid namespace"
		}
		by.note("pid %d (%s) was in %s, and now leads one of its own; --session inherit leaves it in ckpt-apply's", root.PID, root.Comm, was)
	}
	for _, t := range m.Tasks {
		t.Session, t.Group = t.SID, t.PGID
		switch {
		case t.SID == sid && lead:
			t.Session = root.PID
		case t.SID == sid && by.terminal && sid == root.PID, outside(t):
			t.Session = 0
		}
		if t.Session == root.PID && sid != root.PID && t.PGID == pgid {
			t.Group = root.PID // who begins a session leads a group
		}
	}
	m.placeGroups(root, by.terminal)
}

// placeGroups chooses for those in a group with processes that are not in the
// image: the session leader's, ckpt-apply's own, or one of their own.
func (m *Model) placeGroups(root *Task, terminal bool) {
	used := map[int]bool{}
	for _, t := range m.Tasks {
		used[t.Group] = true
	}
	type group struct{ session, id int }
	chosen, members := map[group]int{}, map[group][]int{}
	for _, t := range m.Tasks {
		g := group{t.Session, t.PGID}
		members[g] = append(members[g], t.PID)
	}
	for _, t := range m.Tasks {
		if !t.PGIDOutside && t.PGID != 0 || t.Group == root.PID && t.Group != t.PGID {
			continue
		}
		switch g := (group{t.Session, t.PGID}); {
		case t.Session == root.PID, t.Session == 0 && terminal && root.Session == 0:
			t.Group = root.PID
		case t.Session == 0:
			t.Group = 0
		case chosen[g] != 0:
			t.Group = chosen[g]
		default:
			// An id for a new group, of a process that is in the old one.
			own := t.Session
			if i := slices.IndexFunc(members[g], func(pid int) bool { return !used[pid] }); i >= 0 {
				own = members[g][i]
			}
			t.Group, chosen[g], used[own] = own, own, true
		}
	}
}

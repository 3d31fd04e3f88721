package judge

import (
	"fmt"
	"slices"
)

// What replaces sessions and groups whose leader is outside the image.
const (
	SessionNew     = "new"     // the root leads a session of its own
	SessionInherit = "inherit" // the session and group of ckpt-apply
)

// sessionPolicy is what the decision depends on.
type sessionPolicy struct {
	inherit  bool
	detach   bool
	terminal bool // the program uses ckpt-apply's terminal, so it must be in its session
	note     func(format string, args ...any)
}

// assignSessions decides which session and group each process gets. Those whose leader
// is not in the image are replaced; 0 stands for ckpt-apply's own.
func (m *Model) assignSessions(by sessionPolicy) {
	root := m.Tasks[0]
	sid, pgid := root.SID, root.PGID
	outside := func(t *Task) bool { return t.SIDOutside || t.SID == 0 }
	lead := !by.inherit && !by.terminal && (outside(root) || by.detach)
	if lead && root.SID != root.PID {
		was := fmt.Sprintf("session %d, whose leader is not in the image", root.SID)
		if root.SID == 0 {
			was = "a session from outside its pid namespace"
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
			t.Group = root.PID // the leader of a session leads a group, too
		}
	}
	m.assignGroups(root, by.terminal)
}

// assignGroups chooses a group for processes whose group had a leader that is not in
// the image: that of the session leader, ckpt-apply's own, or one of their own.
func (m *Model) assignGroups(root *Task, terminal bool) {
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
			// The id of the new group is that of a process in the old one.
			own := t.Session
			if i := slices.IndexFunc(members[g], func(pid int) bool { return !used[pid] }); i >= 0 {
				own = members[g][i]
			}
			t.Group, chosen[g], used[own] = own, own, true
		}
	}
}

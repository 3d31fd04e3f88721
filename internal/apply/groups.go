package apply

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/tracee"
)

// What becomes of sessions and groups whose leader is outside of the image.
const (
	SessionNew     = "new"     // the root leads a session of its own
	SessionInherit = "inherit" // they are ckpt-apply's
)

// mapOutside decides which session and group of ours takes the place of those
// whose leader is not in the image; 0 are ckpt-apply's own. A program that uses
// ckpt-apply's terminal must be in its session.
func (b *builder) mapOutside(o *Options) {
	root := b.model.tasks[0]
	terminal := b.files.UsesTerminal() && !o.Detach
	inherit := o.Session == SessionInherit || terminal
	sid, pgid := root.SID, root.PGID
	outside := func(t *taskModel) bool { return t.SIDOutside || t.SID == 0 }
	lead := !inherit && (outside(root) || o.Detach)
	if lead && root.SID != root.PID {
		b.note("pid %d (%s) was in session %d, whose leader is not in the image, and now leads one of its own; --session inherit leaves it in ckpt-apply's",
			root.PID, root.Comm, root.SID)
	}
	joinsOurs := terminal && sid == root.PID
	for _, t := range b.model.tasks {
		switch {
		case t.SID == sid && lead:
			t.SID = root.PID
		case t.SID == sid && joinsOurs, outside(t):
			t.SID = 0
		}
		switch {
		case lead && sid != root.PID && t.PGID == pgid, lead && (t.PGIDOutside || t.PGID == 0):
			t.PGID = root.PID
		case t.PGIDOutside || t.PGID == 0:
			t.PGID = 0
			if terminal {
				t.PGID = root.PID // a job of its own
			}
		}
	}
}

// groups puts every process into its process group. The leader of one makes it;
// where that is gone a helper does.
func (b *builder) groups() error {
	members := map[int][]*taskModel{}
	var order []int
	for _, t := range b.model.tasks {
		if t.PGID == 0 {
			continue
		}
		if members[t.PGID] == nil {
			order = append(order, t.PGID)
		}
		members[t.PGID] = append(members[t.PGID], t)
	}
	for _, pgid := range order {
		if err := b.beginGroup(pgid, members[pgid][0]); err != nil {
			return err
		}
	}
	for _, pgid := range order {
		for _, t := range members[pgid] {
			if pgid == t.PID {
				continue // it leads the group
			}
			if err := b.setGroup(t.PID, pgid); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *builder) beginGroup(pgid int, member *taskModel) error {
	leader := b.puppets[pgid]
	if t := b.model.byPID[pgid]; t != nil && t.SID == pgid {
		return nil // setsid(2) did
	}
	if leader == nil {
		h, err := b.puppets[member.PID].Clone(pgid, 0, unix.SIGCHLD)
		if errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("process group %d of pid %d (%s) can't be made: a process with that id is in the way", pgid, member.PID, member.Comm)
		}
		if err != nil {
			return err
		}
		b.puppets[pgid] = h
		b.helpers = append(b.helpers, pgid)
	} else if b.model.byPID[pgid] == nil {
		return nil // a helper that leads the session
	}
	return b.setGroup(pgid, 0)
}

func (b *builder) setGroup(pid, pgid int) error {
	return tracee.CallOK(b.puppets[pid], fmt.Sprintf("join process group %d", pgid), unix.SYS_SETPGID, 0, uint64(pgid))
}

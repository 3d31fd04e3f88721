package apply

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/judge"
	"ckpt/internal/tracee"
)

// groups puts every process into its process group. The leader of one makes it;
// where that is gone a helper does.
func (b *builder) groups() error {
	members := map[int][]*judge.Task{}
	var order []int
	for _, t := range b.model.Tasks {
		if t.Group == 0 {
			continue
		}
		if members[t.Group] == nil {
			order = append(order, t.Group)
		}
		members[t.Group] = append(members[t.Group], t)
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

func (b *builder) beginGroup(pgid int, member *judge.Task) error {
	leader := b.puppets[pgid]
	if t := b.model.ByPID[pgid]; t != nil && t.Session == pgid {
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
	} else if b.model.ByPID[pgid] == nil {
		return nil // a helper that leads the session
	}
	return b.setGroup(pgid, 0)
}

func (b *builder) setGroup(pid, pgid int) error {
	return tracee.CallOK(b.puppets[pid], fmt.Sprintf("join process group %d", pgid), unix.SYS_SETPGID, 0, uint64(pgid))
}

package mounts

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// What is mounted here and appears there: peer groups and their slaves, see
// mount_namespaces(7). All mounts are in place and get nothing from each other before.

// group is the members of a peer group, the one with the widest view of the file system first.
type group struct {
	members []*mount
	busy    bool // it is being made
	made    bool
}

// propagate makes all peer groups of a namespace.
func (b *builder) propagate() error {
	groups := map[int]*group{}
	for _, m := range b.all {
		if m.Shared == 0 || m.f == nil {
			continue
		}
		g := groups[m.Shared]
		if g == nil {
			g = &group{}
			groups[m.Shared] = g
		}
		g.members = append(g.members, m)
	}
	for _, g := range groups {
		slices.SortStableFunc(g.members, func(x, y *mount) int { return len(x.Root) - len(y.Root) })
	}
	for _, m := range b.all {
		if m.f == nil {
			continue
		}
		if err := b.propagation(m, groups); err != nil {
			return fmt.Errorf("propagation of the mount at %s: %w", m.Point, err)
		}
	}
	return nil
}

func (b *builder) propagation(m *mount, groups map[int]*group) error {
	b.notePropagation(m)
	switch {
	case m.Shared != 0:
		return b.share(groups[m.Shared], groups)
	case m.Master != 0:
		return b.enslave(m, groups)
	case m.Unbindable:
		return m.setPropagation(unix.MS_UNBINDABLE)
	}
	return nil
}

// notePropagation tells of what is not as it was.
func (b *builder) notePropagation(m *mount) {
	switch {
	case m.SharedOutside && m.keepsMaster():
		b.note("what is mounted on the host below %s appears in the mount at %s, as it did, but not the other way round any more", m.from.path, m.Point)
	case m.SharedOutside || m.MasterOutside && !m.keepsMaster():
		b.note("what is mounted on the host does not appear in the mount at %s any more", m.Point)
	}
}

// share makes a peer group. Members that show what the first does not are a group of their
// own: there is nothing in the namespace of which they could be copies.
func (b *builder) share(g *group, groups map[int]*group) error {
	if g.made || g.busy {
		return nil
	}
	g.busy = true
	var leaders []*mount
	for _, m := range g.members {
		if leader := wider(leaders, m); leader != nil {
			if err := m.join(leader); err != nil {
				return err
			}
			continue
		}
		if len(leaders) > 0 {
			b.note("the mounts at %s and %s were peers, and what is mounted below one does not appear in the other any more", leaders[0].Point, m.Point)
		}
		if err := b.enslave(m, groups); err != nil {
			return err
		}
		if err := m.setPropagation(unix.MS_SHARED); err != nil {
			return err
		}
		leaders = append(leaders, m)
	}
	g.made = true
	return nil
}

// enslave makes a mount the slave of its master's peer group, if that is in the namespace.
func (b *builder) enslave(m *mount, groups map[int]*group) error {
	g := groups[m.Master]
	if m.Master == 0 || g == nil || m.keepsMaster() {
		return nil
	}
	if err := b.share(g, groups); err != nil {
		return err
	}
	from := wider(g.members, m)
	if from == nil || !g.made {
		b.note("what is mounted in the peer group %d does not appear in the mount at %s any more", m.Master, m.Point)
		return nil
	}
	if err := m.join(from); err != nil {
		return err
	}
	return m.setPropagation(unix.MS_SLAVE)
}

// wider returns the first of some mounts of the same file system that shows all that m does.
func wider(list []*mount, m *mount) *mount {
	for _, w := range list {
		if _, ok := under(w.Root, m.Root); ok && w != m && w.fs == m.fs {
			return w
		}
	}
	return nil
}

// join makes a mount a peer of another.
func (m *mount) join(other *mount) error {
	if err := m.setPropagation(unix.MS_PRIVATE); err != nil {
		return err
	}
	err := unix.MoveMount(int(other.f.Fd()), "", int(m.f.Fd()), "",
		unix.MOVE_MOUNT_SET_GROUP|unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	return os.NewSyscallError("move_mount", err)
}

func (m *mount) setPropagation(how uint64) error {
	return os.NewSyscallError("mount_setattr", unix.MountSetattr(int(m.f.Fd()), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Propagation: how}))
}

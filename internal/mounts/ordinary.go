package mounts

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/sys"
)

// What an image must not do in which no process is root's. Who makes up a mount namespace has
// all rights of root in the end: a set-user-id program, such as su, believes what is mounted
// at /etc; a bind of what is in a folder that nobody may enter leads into it; an overlay
// writes to its folders with the rights of who mounted it.

// users are those of an image without a process of root's.
func (r *Restorer) users() []*sys.FSIdentity {
	if r.Users == nil {
		return nil
	}
	return r.Users()
}

// confine has no set-user-id program work in the namespaces of such an image, nor one of what
// is mounted on the host later.
func (r *Restorer) confine() {
	if len(r.users()) == 0 {
		return
	}
	tighter, alone := false, false
	for _, s := range r.list {
		for _, m := range s.list {
			tighter = tighter || m.Attr&unix.MOUNT_ATTR_NOSUID == 0
			alone = alone || m.SharedOutside || m.MasterOutside
			m.Attr |= unix.MOUNT_ATTR_NOSUID
			m.SharedOutside, m.MasterOutside = false, false
		}
	}
	if tighter {
		r.note("all mounts come back nosuid, because no process of the image is root's: programs like sudo give no rights there")
	}
	if alone {
		r.note("what is mounted on the host does not appear in the mounts any more, because no process of the image is root's")
	}
}

// checkReach makes sure that all users could reach what is found on the host for a mount.
func (r *Restorer) checkReach(m *mount) error {
	if m.from.path == "" || m.from.user || m.from.covered && m.isCovered() {
		return nil
	}
	for _, id := range r.users() {
		why := fmt.Sprintf("and user %d has no way to that here", id.UID)
		if m.from.covered {
			return r.undecided(m, why)
		}
		err := sys.AsFS(id, func() error {
			f, err := openPath(unix.AT_FDCWD, m.from.path, noLinks)
			if err != nil {
				return err
			}
			return f.Close()
		})
		if err != nil {
			return fmt.Errorf("%w: %w", r.undecided(m, why), err)
		}
	}
	return nil
}

// checkBelow makes sure that what the host has covered below the place that a mount is from is
// covered in the namespace, too: a bind takes none of the mounts there with it.
func (r *Restorer) checkBelow(m *mount) error {
	if m.from.path == "" || m.from.user || m.from.covered || len(r.users()) == 0 {
		return nil
	}
	root, err := r.hostTable()
	if err != nil {
		return err
	}
	at := root.lookup(m.from.path)
	place, err := below(at.Point, m.from.path)
	if err != nil {
		return err
	}
	for _, h := range at.kids {
		if rel, ok := under(place, h.rel); ok && rel != "/" && !m.isCoveredAt(rel) {
			err := fmt.Errorf("at %s was mounted %s of a %s file system, of which %s at %s hides a part here, and nothing would there",
				m.Point, m.Root, m.fs.Type, h.src.FSType, h.Point)
			return cli.WithHint(err, "unmount that; or, to have all of it shown, "+Proposal(m.Point, m.from.path))
		}
	}
	return nil
}

// isCoveredAt reports whether something is mounted on a place of a mount, or above it.
func (m *mount) isCoveredAt(rel string) bool {
	return slices.ContainsFunc(m.kids, func(k *mount) bool {
		_, ok := under(k.rel, rel)
		return ok && k.isThere()
	})
}

// isCovered reports whether nothing leads to a mount, so that it may be as covered as it was:
// another is on its root, and no file is opened on it or on what is mounted on it, from which
// ".." would lead to it. A mount that covers a folder above it does not count: folders can be
// moved.
func (m *mount) isCovered() bool {
	return m.parent != nil && m.kid("/") != nil && !slices.ContainsFunc(m.all(), func(on *mount) bool { return len(on.wanted) > 0 })
}

// hidesLess reports whether a proc file system would show more than /proc does.
func (r *Restorer) hidesLess(fs *fileSystem) bool {
	hides := func(options []string) (words []string) { // how, and for whom not
		for _, o := range options {
			if (strings.HasPrefix(o, "hidepid=") || strings.HasPrefix(o, "gid=")) && o != "hidepid=off" && o != "hidepid=0" {
				words = append(words, o)
			}
		}
		slices.Sort(words)
		return words
	}
	for _, h := range slices.Backward(r.host) {
		if h.Point == "/proc" && h.FSType == "proc" {
			return len(hides(h.Options)) > 0 && !slices.Equal(hides(h.Options), hides(fs.Options))
		}
	}
	return false
}

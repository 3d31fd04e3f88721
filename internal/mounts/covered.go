package mounts

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// takeCovered clones what the host has below other mounts, in a copy of its namespace that is
// taken apart for it.
func (r *Restorer) takeCovered() error {
	var wanted []*mount
	for _, s := range r.list {
		for _, m := range s.list {
			if m.from.covered && !m.left {
				wanted = append(wanted, m)
			}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	self, err := os.OpenFile("/proc/thread-self", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer self.Close()
	if err := copyHost(); err != nil {
		return err
	}
	list, err := tableOf(self)
	if err != nil {
		return err
	}
	root, err := arrange(list)
	if err != nil {
		return err
	}
	if err := takeApart(root, list, func(h *mount) error { return r.takeFrom(h, wanted) }); err != nil {
		return err
	}
	for _, m := range wanted {
		if m.f == nil {
			return r.undecided(m, "which is not found here any more")
		}
	}
	return nil
}

// takeFrom clones what a mount of the host shows of what is wanted.
func (r *Restorer) takeFrom(h *mount, wanted []*mount) error {
	for _, m := range wanted {
		rest, ok := under(h.Root, m.Root)
		if m.f != nil || !ok || h.src.Dev != m.fs.Dev || h.src.FSType != m.fs.Type {
			continue
		}
		top, err := h.open()
		if err != nil {
			return err
		}
		at, err := openPath(int(top.Fd()), rest, beneath)
		if err := errors.Join(ifNot(err, unix.ENOENT), top.Close()); err != nil {
			return err
		}
		if at == nil {
			continue
		}
		now, err := identify(at)
		if err != nil || m.Is != nil && !isSame(m.Is, now, true) {
			if err := errors.Join(err, at.Close()); err != nil {
				return err
			}
			continue
		}
		if err := m.cloneOf(at); err != nil {
			return err
		}
	}
	return nil
}

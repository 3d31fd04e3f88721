package mounts

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/stream/record"
)

// isLate reports whether a mount shows a single pseudoterminal, which is there only when it
// has been restored, or is on one that does.
func (m *mount) isLate() bool {
	return m.fs.How == record.FSFresh && m.Root != "/" && m.from.path == "" || m.parent != nil && m.parent.isLate()
}

// Finish is called when all bytes are in and all pseudoterminals are there: the last mounts,
// times, and what is read-only.
func (r *Restorer) Finish() error {
	for _, f := range r.order {
		if f.tree == nil || f.base == nil {
			continue
		}
		if err := errors.Join(r.setCapabilities(f), f.setTimes()); err != nil {
			return err
		}
	}
	for _, s := range r.list {
		if err := inThread(func() error { return r.finish(s) }); err != nil {
			return fmt.Errorf("complete a mount namespace: %w", err)
		}
	}
	return nil
}

// finish completes a namespace, which the calling thread enters.
func (r *Restorer) finish(s *space) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Setns(int(r.made[s.of].File.Fd()), unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("setns", err)
	}
	all := s.root.all()
	for _, m := range all {
		if m.left || !m.isLate() {
			continue
		}
		if err := r.attachLate(s, m); err != nil {
			return err
		}
	}
	for _, m := range all {
		if m.left || m.Attr&attrReadOnly == 0 {
			continue
		}
		if err := unix.MountSetattr(int(m.f.Fd()), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return fmt.Errorf("make the mount at %s read-only: %w", m.Point, err)
		}
	}
	for _, m := range all {
		if m.left || m.fs.tree == nil || m.from.path != "" || !m.fs.ReadOnly {
			continue
		}
		if err := makeReadOnly(m.f); err != nil {
			return fmt.Errorf("make %s read-only: %w", m.fs.at(), err)
		}
	}
	return nil
}

// attachLate mounts what is there by now.
func (r *Restorer) attachLate(s *space, m *mount) error {
	for _, other := range m.fs.mounts {
		if other.Refs.Of != s.of || other.Root != "/" || other.f == nil {
			continue
		}
		at, err := openPath(int(other.f.Fd()), m.Root, beneath)
		if err != nil {
			return fmt.Errorf("mount %s of %s at %s: %w", m.Root, m.fs.at(), m.Point, err)
		}
		return errors.Join(m.cloneOf(at), m.attach())
	}
	return fmt.Errorf("mount %s at %s: no other mount in the namespace has it", m.Root, m.Point)
}

// makeReadOnly makes a file system read-only.
func makeReadOnly(root *os.File) error {
	fd, err := unix.Fspick(int(root.Fd()), "", unix.FSPICK_EMPTY_PATH|unix.FSPICK_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("fspick", err)
	}
	defer unix.Close(fd)
	if err := unix.FsconfigSetFlag(fd, "ro"); err != nil {
		return os.NewSyscallError("fsconfig", err)
	}
	return os.NewSyscallError("fsconfig", unix.FsconfigReconfigure(fd))
}

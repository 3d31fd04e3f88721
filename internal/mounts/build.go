package mounts

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"ckpt/stream/record"
)

// Folders of the yard.
const (
	yardHost = "/host" // all that the host has mounted
	yardFS   = "/fs"   // a folder for each file system that is made
	yardNew  = "/new"  // the root of the namespace to be
)

// Make makes all namespaces, with all files but without their bytes. Check was called.
func (r *Restorer) Make() error {
	for _, f := range r.order {
		if err := r.makeFS(f); err != nil {
			return err
		}
	}
	if err := inThread(r.takeCovered); err != nil {
		return fmt.Errorf("what is mounted below others: %w", err)
	}
	if err := inThread(r.makeYard); err != nil {
		return fmt.Errorf("a mount namespace to work in: %w", err)
	}
	for _, f := range r.order {
		if f.tree != nil && f.base != nil {
			if err := r.makeTree(f); err != nil {
				return err
			}
		}
	}
	r.made = map[uint64]*Namespace{}
	for _, s := range r.list {
		n := &Namespace{root: s.root, byID: map[int]*mount{}}
		r.made[s.of] = n
		if err := inThread(func() error { return r.build(s, n) }); err != nil {
			return fmt.Errorf("make a mount namespace: %w", err)
		}
	}
	return r.forgetNames()
}

// makeFS makes a file system that no mount of the host shows.
func (r *Restorer) makeFS(f *fileSystem) (err error) {
	if f.inside || !f.needed() {
		return nil
	}
	if len(f.Layers) > 0 {
		f.base, err = r.newOverlay(f)
	} else {
		f.base, err = f.newBase()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.at(), err)
	}
	return f.noteDev()
}

// noteDev notes by what its files are known.
func (f *fileSystem) noteDev() error {
	st, err := statOf(f.base)
	f.newDev = devOf(&st)
	return err
}

// needed reports whether any mount is one of the file system itself.
func (f *fileSystem) needed() bool {
	for _, m := range f.mounts {
		if !m.left && m.from.path == "" {
			return true
		}
	}
	return false
}

// builder makes one namespace.
type builder struct {
	*Restorer
	s    *space
	host *os.File // where all that the host has is
	all  []*mount // parents first, without those that are left out
}

// build makes a namespace with the calling thread.
func (r *Restorer) build(s *space, n *Namespace) error {
	self, err := os.OpenFile("/proc/thread-self", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer self.Close()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Setns(int(r.yard.Fd()), unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("setns", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	b := &builder{Restorer: r, s: s}
	if b.host, err = openPath(unix.AT_FDCWD, yardHost, noLinks); err != nil {
		return err
	}
	defer b.host.Close()
	for _, m := range s.root.all() {
		if !m.left {
			b.all = append(b.all, m)
			n.byID[m.ID] = m
		}
	}
	if err := b.assemble(); err != nil {
		return err
	}
	n.File, err = namespaceOf(self)
	return err
}

// assemble clones all mounts, puts them in place, and makes the first the root. An overlay
// whose folders are in the namespace itself is made when these are there.
func (b *builder) assemble() (err error) {
	var late []*mount
	for _, m := range b.all {
		if m.isLate() || m.isInside() || m.f != nil {
			continue
		}
		at, err := b.source(m)
		if err == nil {
			err = m.cloneOf(at)
		}
		if err != nil {
			return fmt.Errorf("%s at %s: %w", m.fs.Type, m.Point, err)
		}
	}
	if b.s.root.target, err = openPath(unix.AT_FDCWD, yardNew, noLinks); err != nil {
		return err
	}
	for _, m := range b.all {
		if m.f == nil || m.target == nil {
			late = append(late, m)
			continue
		}
		b.noteTighter(m)
		if err := m.attach(); err != nil {
			return err
		}
	}
	if err := makeRoot(b.s.root); err != nil {
		return err
	}
	for _, m := range late {
		if m.isLate() {
			continue
		}
		if m.isInside() {
			if err := b.overlayInside(m); err != nil {
				return fmt.Errorf("%s at %s: %w", m.fs.Type, m.Point, err)
			}
		}
		if err := m.attach(); err != nil {
			return err
		}
	}
	return b.propagate()
}

// makeRoot makes a mount the root of the thread and its namespace, and takes the rest off.
func makeRoot(m *mount) error {
	if err := unix.Fchdir(int(m.f.Fd())); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return os.NewSyscallError("pivot_root", err)
	}
	return os.NewSyscallError("umount2", unix.Unmount(".", unix.MNT_DETACH)) // what is over it now
}

// isInside reports whether a mount is of an overlay of folders in the namespace itself.
func (m *mount) isInside() bool { return m.fs.inside && m.from.path == "" }

// overlayInside makes such an overlay, or one more mount of it.
func (b *builder) overlayInside(m *mount) (err error) {
	if m.fs.base == nil {
		if m.fs.base, err = b.newOverlay(m.fs); err != nil {
			return err
		}
		if err := m.fs.noteDev(); err != nil {
			return err
		}
		if m.Root == "/" {
			if m.f, err = dup(m.fs.base); err != nil {
				return err
			}
			return m.setFlags()
		}
	}
	at, err := openPath(int(m.fs.base.Fd()), m.Root, beneath)
	if err != nil {
		return err
	}
	return m.cloneOf(at)
}

// cloneOf clones what is to be mounted, which it closes, and gives it its flags.
func (m *mount) cloneOf(at *os.File) error {
	fd, err := unix.OpenTree(int(at.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT)
	if err := errors.Join(os.NewSyscallError("open_tree", err), at.Close()); err != nil {
		return err
	}
	m.f = os.NewFile(uintptr(fd), m.Point)
	return m.setFlags()
}

// setFlags gives a mount its flags but for read-only. Those by which the host's takes rights
// away stay.
func (m *mount) setFlags() error {
	attr := unix.MountAttr{Attr_clr: attrAtime | unix.MOUNT_ATTR_NODIRATIME, Attr_set: m.Attr &^ attrReadOnly}
	if !m.keepsMaster() {
		attr.Propagation = unix.MS_PRIVATE
	}
	return os.NewSyscallError("mount_setattr", unix.MountSetattr(int(m.f.Fd()), "", unix.AT_EMPTY_PATH, &attr))
}

// noteTighter tells of what the host's mount does not allow and the program's did.
func (b *builder) noteTighter(m *mount) {
	var st unix.Statfs_t
	if m.from.path == "" || isServed(m.fs.Type) || unix.Fstatfs(int(m.f.Fd()), &st) != nil {
		return
	}
	for _, f := range []struct {
		word      string
		has, bits uint64 // ST_ of statvfs(3), MOUNT_ATTR_ of mount_setattr(2)
	}{{"read-only", unix.ST_RDONLY, attrReadOnly}, {"nosuid", unix.ST_NOSUID, unix.MOUNT_ATTR_NOSUID}, {"nodev", unix.ST_NODEV, unix.MOUNT_ATTR_NODEV}, {"noexec", unix.ST_NOEXEC, unix.MOUNT_ATTR_NOEXEC}} {
		if uint64(st.Flags)&f.has != 0 && m.Attr&f.bits == 0 && !(f.bits == attrReadOnly && m.fs.ReadOnly) {
			b.note("the mount at %s comes back %s, as %s is here", m.Point, f.word, m.from.path)
		}
	}
}

// keepsMaster reports whether a mount goes on getting what is mounted on the host.
func (m *mount) keepsMaster() bool {
	return m.fs.How == record.FSHost && m.from.path != "" && (m.MasterOutside || m.SharedOutside)
}

// source opens what is to be mounted.
func (b *builder) source(m *mount) (*os.File, error) {
	switch {
	case m.from.user:
		return openPath(int(b.host.Fd()), m.from.path, unix.RESOLVE_IN_ROOT) // the user's own way, with links
	case m.from.path != "":
		f, err := openPath(int(b.host.Fd()), m.from.path, noLinks|unix.RESOLVE_IN_ROOT)
		if err != nil || m.Is == nil {
			return f, err
		}
		if now, err := identify(f); err != nil || !isSame(m.Is, now, b.SameBoot) {
			return nil, errors.Join(err, f.Close(), fmt.Errorf("%s is no longer what was found", m.from.path))
		}
		return f, nil
	case m.Deleted:
		return openPath(unix.AT_FDCWD, path.Join(m.fs.place, m.fs.tree.nameless[m.Node].name), noLinks)
	}
	base, err := openPath(unix.AT_FDCWD, m.fs.place, noLinks)
	if err != nil || m.Root == "/" {
		return base, err
	}
	defer base.Close()
	return openPath(int(base.Fd()), m.Root, beneath)
}

// attach puts a mount in its place, and opens the places on it while nothing covers them.
func (m *mount) attach() error {
	if err := m.findWanted(); err != nil {
		return err
	}
	for _, k := range m.kids {
		if k.left {
			continue
		}
		var err error
		if k.rel == "/" {
			k.target, err = dup(m.f)
		} else {
			k.target, err = openPath(int(m.f.Fd()), k.rel, beneath)
		}
		if err != nil {
			return fmt.Errorf("the place for %s at %s: %w", k.fs.Type, k.Point, err)
		}
	}
	err := unix.MoveMount(int(m.f.Fd()), "", int(m.target.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("mount %s at %s: %w", m.fs.Type, m.Point, err)
	}
	err = m.target.Close()
	m.target = nil
	return err
}

// forgetNames takes the names off the files that have one only for mounts of them to be made.
func (r *Restorer) forgetNames() error {
	for _, f := range r.order {
		if f.tree == nil || f.base == nil {
			continue
		}
		for node, n := range f.tree.nameless {
			if err := f.forget(n, f.tree.byNode[node].Path); err != nil {
				return fmt.Errorf("%s in %s: %w", f.tree.byNode[node].Path, f.at(), err)
			}
		}
	}
	return nil
}

// forget removes a file, if possible under the name that it had when it was removed, for that
// is what the kernel goes on calling it. Another file may have that name by now.
func (f *fileSystem) forget(n *nameless, p string) error {
	flags, root := 0, int(f.base.Fd())
	if n.isDir {
		flags = unix.AT_REMOVEDIR
	}
	folder, err := f.open(path.Dir(p))
	if err != nil {
		return os.NewSyscallError("unlinkat", unix.Unlinkat(root, n.name, flags))
	}
	defer folder.Close()
	at, name := int(folder.Fd()), path.Base(p)
	err = unix.Renameat2(root, n.name, at, name, unix.RENAME_NOREPLACE)
	if err == nil {
		return os.NewSyscallError("unlinkat", unix.Unlinkat(at, name, flags))
	}
	if err != unix.EEXIST {
		return os.NewSyscallError("renameat2", err)
	}
	return errors.Join(os.NewSyscallError("renameat2", unix.Renameat2(root, n.name, at, name, unix.RENAME_EXCHANGE)),
		os.NewSyscallError("unlinkat", unix.Unlinkat(at, name, flags)),
		os.NewSyscallError("renameat2", unix.Renameat2(root, n.name, at, name, unix.RENAME_NOREPLACE)))
}

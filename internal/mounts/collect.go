package mounts

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// Collector describes the mount namespaces of one checkpoint.
type Collector struct {
	NewID func() uint64                    // numbers an object
	Emit  func(t record.Type, m any) error // writes a record
	// Block notes what stands in the way of saving a process; Note what the user should know.
	// The text goes on after the process's name.
	Block func(pid int, why error)
	Note  func(pid int, what error)
	// HasPty reports whether a pseudoterminal of a devpts file system is saved otherwise.
	HasPty func(dev uint64, index int) bool

	host   []proc.Mount // what we have mounted
	table  *mount       // the same as a tree
	spaces []*space
	fs     []*fileSystem
	sends  []fileContent
}

// space is a mount namespace.
type space struct {
	pid  int    // a process in it
	of   uint64 // the object that it is
	root *mount
	list []*mount // parents before children
	// whole is its root folder when it is saved, below which all is still mounted.
	whole *os.File
}

// fileSystem is a superblock, which may have mounts in several namespaces.
type fileSystem struct {
	*record.Filesystem
	pid    int // a process in whose namespace it is mounted
	mounts []*mount
	// When it is saved:
	hasLong bool // a path in it is too long, which was said
	// When it is restored:
	tree   *tree    // its files, if it is made of them
	inside bool     // an overlay of folders in the namespace itself
	base   *os.File // its root, on a mount in the yard
	place  string   // where in the yard
	newDev uint64   // st_dev of its files
}

// at names a file system for messages: type and place.
func (f *fileSystem) at() string {
	if len(f.mounts) == 0 {
		return f.Type
	}
	return f.Type + " at " + f.mounts[0].Point
}

// Add looks at the mount namespace of a process. Its mounts become part of an object.
func (c *Collector) Add(pid int, of uint64) (err error) {
	if c.host == nil {
		if c.host, err = proc.Mounts(os.Getpid()); err != nil {
			return err
		}
		if c.table, err = arrange(parentsFirst(c.host)); err != nil {
			return err
		}
	}
	if foreign, err := isForeign(pid); err != nil || foreign {
		if foreign {
			c.Block(pid, errors.New("has mounts that belong to another user namespace than that of ckpt-collect, which can't be saved"))
		}
		return err
	}
	s := &space{pid: pid, of: of}
	if err := inThread(s.read); err != nil {
		return fmt.Errorf("mounts of pid %d: %w", pid, err)
	}
	c.spaces = append(c.spaces, s)
	for _, m := range s.list {
		c.assign(s, m)
	}
	return nil
}

// isForeign reports whether a process's mount namespace belongs to another user namespace
// than ours: then its mounts are tied together (MNT_LOCKED), and a copy of them is, too.
func isForeign(pid int) (bool, error) {
	f, err := os.Open(proc.Path(proc.Living(pid), "ns/mnt"))
	if err != nil {
		return false, err
	}
	defer f.Close()
	fd, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return false, os.NewSyscallError("NS_GET_USERNS", err)
	}
	owner := os.NewFile(uintptr(fd), "user namespace")
	defer owner.Close()
	var its, own unix.Stat_t
	if err := errors.Join(unix.Fstat(fd, &its), unix.Stat("/proc/self/ns/user", &own)); err != nil {
		return false, err
	}
	return its.Ino != own.Ino, nil
}

// read enters the namespace with the calling thread and takes a copy of it apart.
func (s *space) read() error {
	self, err := os.OpenFile("/proc/thread-self", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer self.Close()
	at := proc.Living(s.pid)
	ns, err := os.Open(proc.ThreadPath(s.pid, at, "ns/mnt"))
	if err != nil {
		return err
	}
	defer ns.Close()
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, proc.ThreadPath(s.pid, at, "root"), unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &st); err != nil {
		return fmt.Errorf("its root folder: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("setns", err)
	}
	if s.whole, err = openPath(unix.AT_FDCWD, "/", noLinks); err != nil {
		return err
	}
	its, err := tableOf(self)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(its, func(m *mount) bool { return m.ID == int(st.Mnt_id) }) {
		return errors.New("its root folder is on a mount that is covered by another on /, which can't be saved")
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	copied, err := tableOf(self)
	if err != nil {
		return err
	}
	return s.takeCopy(its, copied)
}

// takeCopy takes a copy of the namespace apart, in which this thread is. Nothing that is done
// to the copy reaches others, and reading changes no times.
func (s *space) takeCopy(its, copied []*mount) error {
	attr := &unix.MountAttr{Attr_clr: attrAtime, Attr_set: unix.MOUNT_ATTR_NOATIME | unix.MOUNT_ATTR_NODIRATIME, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, attr); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	var err error
	if s.root, err = arrange(its); err != nil {
		return err
	}
	root, err := arrange(copied)
	if err != nil {
		return err
	}
	if len(its) != len(copied) || !pair(s.root, root) {
		return errors.New("its mounts change while they are read")
	}
	s.list = its
	return takeApart(root, copied, func(m *mount) (err error) {
		m.f, err = m.open()
		return err
	})
}

// readMounts reads the mountinfo of a thread, whose folder in /proc this is.
func readMounts(self *os.File) ([]proc.Mount, error) {
	fd, err := unix.Openat(int(self.Fd()), "mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "mountinfo", Err: err}
	}
	f := os.NewFile(uintptr(fd), "mountinfo")
	defer f.Close()
	return proc.ReadMounts(f)
}

// tableOf reads the table of a thread.
func tableOf(self *os.File) ([]*mount, error) {
	all, err := readMounts(self)
	if err != nil {
		return nil, err
	}
	return parentsFirst(all), nil
}

// parentsFirst makes mounts of a table, in which the kernel has no particular order.
func parentsFirst(all []proc.Mount) (list []*mount) {
	kids, is := map[int][]*proc.Mount{}, map[int]bool{}
	for i := range all {
		is[all[i].ID] = true
	}
	var next []*proc.Mount
	for i := range all {
		if m := &all[i]; !is[m.Parent] || m.Parent == m.ID {
			next = append(next, m)
		} else {
			kids[m.Parent] = append(kids[m.Parent], m)
		}
	}
	for ; len(next) > 0; next = next[1:] {
		m := &mount{src: *next[0]}
		m.Mount = &record.Mount{ID: m.src.ID, Parent: m.src.Parent, Point: m.src.Point, Root: m.src.Root,
			Shared: m.src.Shared, Master: m.src.Master, Unbindable: m.src.Unbindable}
		if !is[m.Parent] {
			m.Parent = 0
		}
		if !strings.HasPrefix(m.Root, "/") { // that of nsfs
			m.Root = "/" + m.Root
		}
		m.Root, m.Deleted = strings.CutSuffix(m.Root, "//deleted")
		list = append(list, m)
		next = append(next, kids[m.ID]...)
	}
	return list
}

// pair finds for each mount of a table the one of its copy.
func pair(m, copied *mount) bool {
	if m.src.Dev != copied.src.Dev || m.Root != copied.Root || len(m.kids) != len(copied.kids) {
		return false
	}
	m.twin = copied
	for _, k := range m.kids {
		if other := copied.kid(k.rel); other == nil || !pair(k, other) {
			return false
		}
	}
	return true
}

// takeApart looks at each mount of the calling thread's namespace when nothing covers it and
// nothing is on it, and takes it off. What is on a file system that somebody serves is not
// looked at: the server may be one of those that stand still.
func takeApart(root *mount, list []*mount, look func(*mount) error) error {
	for left := len(list); left > 0; {
		before := left
		for _, m := range slices.Backward(list) {
			if m.gone || !m.isLeaf() || root.lookup(m.Point) != m {
				continue
			}
			if m.servedAbove() == nil {
				if err := look(m); err != nil {
					return err
				}
				if err := m.takeOff(); err != nil {
					return err
				}
			}
			m.gone = true
			left--
		}
		if left == before {
			return errors.New("its mounts cover each other in a way that can't be saved")
		}
	}
	return nil
}

// servedAbove returns the served file system that the way to a mount leads through, or nil.
func (m *mount) servedAbove() *mount {
	for p := m.parent; p != nil; p = p.parent {
		if isServed(p.src.FSType) {
			return p
		}
	}
	return nil
}

// asksServer reports whether to look for a path of ours may be to ask who serves a file system.
func (c *Collector) asksServer(p string) bool { return leadsThroughServed(c.table, p) }

// leadsThroughServed reports whether names on a served file system are on the way that a path
// leads, from the root of a table.
func leadsThroughServed(root *mount, p string) bool {
	m := root.lookup(p)
	return m.servedAbove() != nil || isServed(m.src.FSType) && m.Point != p
}

// root is the root of the table in which a mount is.
func (m *mount) root() *mount {
	for m.parent != nil {
		m = m.parent
	}
	return m
}

// open opens the root of a mount that nothing covers.
func (m *mount) open() (*os.File, error) {
	f, err := openPath(unix.AT_FDCWD, m.Point, noLinks)
	if err != nil {
		return nil, err
	}
	st, err := statOf(f)
	if err == nil && int(st.Mnt_id) != m.ID {
		err = fmt.Errorf("%s leads to mount %d and not to %d", m.Point, st.Mnt_id, m.ID)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	m.Mode = uint32(st.Mode)
	return f, nil
}

func (m *mount) takeOff() error {
	if m.parent == nil {
		return nil
	}
	if err := unix.Unmount(m.Point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return &os.PathError{Op: "unmount in a copy", Path: m.Point, Err: err}
	}
	return nil
}

// assign gives a mount its file system.
func (c *Collector) assign(s *space, m *mount) {
	m.f, m.Mode, m.twin = m.twin.f, m.twin.Mode, nil
	m.Refs.Of = s.of
	i := slices.IndexFunc(c.fs, func(f *fileSystem) bool { return f.Dev == m.src.Dev && f.Type == m.src.FSType })
	if i < 0 {
		i = len(c.fs)
		c.fs = append(c.fs, c.newFS(s.pid, &m.src))
	}
	m.fs = c.fs[i]
	m.Refs.FS = m.fs.ID
	m.fs.mounts = append(m.fs.mounts, m)
	var err error
	if m.Attr, err = attrOf(m.src.Flags); err != nil {
		c.Block(s.pid, fmt.Errorf("has %s mounted at %s, which can't be saved: %w", m.fs.Type, m.Point, err))
	}
	if by := m.servedAbove(); by != nil {
		c.Block(s.pid, cli.WithHint(fmt.Errorf("has %s mounted at %s, which is on a %s file system and can't be looked at", m.fs.Type, m.Point, by.src.FSType),
			"unmount it for the checkpoint"))
	}
}

func (c *Collector) newFS(pid int, m *proc.Mount) *fileSystem {
	f := &fileSystem{pid: pid, Filesystem: &record.Filesystem{Type: m.FSType, Source: m.Source, Dev: m.Dev}}
	f.ID, f.Ident = c.NewID(), fmt.Appendf(nil, "%v %s %d", record.TypeFilesystem, m.FSType, m.Dev)
	for _, o := range m.Options {
		switch o {
		case "ro":
			f.ReadOnly = true
		case "rw":
		default:
			f.Options = append(f.Options, o)
		}
	}
	f.Host = slices.ContainsFunc(c.host, func(h proc.Mount) bool { return h.Dev == m.Dev && h.FSType == m.FSType })
	t, known := fsTypes[m.FSType]
	switch {
	case known && t.how == record.FSView:
		f.How = t.how
	case f.Host:
		f.How = record.FSHost
	case known:
		f.How = t.how
	default:
		f.How = record.FSOther
	}
	return f
}

package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// finder finds out what an inotify watches. It has an inotify of its own: what the kernel
// tells of a watch there is what it tells of the program's on the same inode, whatever
// stat(2) says of that.
type finder struct {
	c        *Collector
	own      int                           // an inotify
	lacks    bool                          // we may not open files by handle
	known    map[proc.InotifyInode]*opened // files and folders that the tree has open
	paths    map[proc.InotifyInode]string  // others that its paths lead by; nil until needed
	searched map[uint64]bool               // devices of file systems that were looked through
	mounts   []proc.Mount
	roots    map[int]*os.File // by mount id; nil if another mount is over it
	served   map[string]bool  // mount points of file systems that ask a server
}

func (c *Collector) newFinder() (*finder, error) {
	own, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make an inotify to find what others watch, see fs.inotify.max_user_instances: %w", os.NewSyscallError("inotify_init1", err))
	}
	f := &finder{c: c, own: own, roots: map[int]*os.File{}}
	if f.mounts = c.Mounts; f.mounts == nil {
		f.mounts, err = proc.Mounts(os.Getpid())
	}
	if err == nil {
		f.served = servedPoints(f.mounts)
		err = f.lookAtOpen()
	}
	if err != nil {
		unix.Close(own)
		return nil, err
	}
	return f, nil
}

func (f *finder) close() {
	unix.Close(f.own)
	for _, root := range f.roots {
		root.Close()
	}
}

// networked are file systems that ask a server, besides those of FUSE.
var networked = []string{"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "lustre", "gfs2", "ocfs2", "coda", "virtiofs"}

// servedPoints are the mount points behind which somebody is asked who may never answer.
func servedPoints(mounts []proc.Mount) map[string]bool {
	points := map[string]bool{}
	for i := range mounts {
		if m := &mounts[i]; fuseName(m.FSType) != "" || slices.Contains(networked, m.FSType) {
			points[m.Point] = true
		}
	}
	return points
}

// isServed reports whether a path leads to or through such a mount point.
func (f *finder) isServed(path string) bool {
	for len(f.served) > 0 && path != "/" && path != "." {
		if f.served[path] {
			return true
		}
		path = filepath.Dir(path)
	}
	return f.served[path]
}

// watch makes a watch on what a path leads to. It gets no events to speak of. The path is
// a link in /proc or one that was found not to lead to FUSE.
func (f *finder) watch(path string) (wd int, err error) {
	return unix.InotifyAddWatch(f.own, path, unix.IN_DELETE_SELF)
}

// watched returns the inodes of all watches by descriptor.
func (f *finder) watched() (map[int]proc.InotifyInode, error) {
	info, err := proc.ReadFDInfo(os.Getpid(), f.own)
	if err != nil {
		return nil, err
	}
	list, err := info.InotifyWatches()
	if err != nil {
		return nil, err
	}
	all := make(map[int]proc.InotifyInode, len(list))
	for i := range list {
		all[list[i].WD] = list[i].InotifyInode
	}
	return all, nil
}

// inodeOf returns the inode that one of our descriptors has open.
func (f *finder) inodeOf(fd int) (in proc.InotifyInode, err error) {
	wd, err := f.watch(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return in, err
	}
	all, err := f.watched()
	if err != nil {
		return in, err
	}
	_, _ = unix.InotifyRmWatch(f.own, uint32(wd)) // it may be gone with its file
	return all[wd], nil
}

// forget removes all watches.
func (f *finder) forget(all map[int]proc.InotifyInode) {
	for wd := range all {
		_, _ = unix.InotifyRmWatch(f.own, uint32(wd))
	}
}

// lookAtOpen notes which files and folders are open.
func (f *finder) lookAtOpen() error {
	f.known = map[proc.InotifyInode]*opened{}
	at := map[int]*opened{}
	for i := range f.c.opened {
		o := &f.c.opened[i]
		if o.inode == 0 || !isMode(o.Subject, unix.S_IFREG) && !isMode(o.Subject, unix.S_IFDIR) || isProcFile(o.Subject) {
			continue
		}
		if wd, err := f.watch(o.Link); err == nil && at[wd] == nil {
			at[wd] = o
		}
	}
	all, err := f.watched()
	if err != nil {
		return err
	}
	for wd, in := range all {
		f.known[in] = at[wd]
	}
	f.forget(all)
	return nil
}

// find returns the record of a watch without what is the instance's own; nil if nothing
// leads to its file.
func (f *finder) find(w *proc.InotifyWatch) (*record.InotifyWatch, error) {
	if o := f.known[w.InotifyInode]; o != nil {
		rec := watchOf(o.Subject)
		rec.Refs.Inode = o.inode
		return rec, nil
	}
	if rec, err := f.byHandle(w); rec != nil || err != nil {
		return rec, err
	}
	path, err := f.pathOf(w)
	if err != nil || path == "" {
		return nil, err
	}
	p, err := walk(path, unix.O_PATH|unix.O_NOFOLLOW, false)
	if err != nil {
		return nil, nil
	}
	defer p.Close()
	return f.found(p, path)
}

// pathOf looks for a path to a watched file; it returns "" if there is none.
func (f *finder) pathOf(w *proc.InotifyWatch) (string, error) {
	if f.paths == nil {
		f.paths, f.searched = map[proc.InotifyInode]string{}, map[uint64]bool{}
		if err := f.lookAround(); err != nil {
			return "", err
		}
	}
	if f.paths[w.InotifyInode] == "" && !opensByHandle(w) && !f.searched[w.Dev] {
		f.searched[w.Dev] = true
		if err := f.lookThrough(w.Dev); err != nil {
			return "", err
		}
	}
	return f.paths[w.InotifyInode], nil
}

// found returns the record of a file that we have open and know a path of.
func (f *finder) found(p *os.File, path string) (*record.InotifyWatch, error) {
	s := &Subject{FD: -1, Link: fmt.Sprintf("/proc/self/fd/%d", p.Fd()), Target: path}
	if err := unix.Fstat(int(p.Fd()), &s.Stat); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	return watchOf(s), nil
}

// byHandle opens the file by its handle and asks for its path. It returns nil if that
// can't be done, or if the kernel has the file in memory without a path.
func (f *finder) byHandle(w *proc.InotifyWatch) (*record.InotifyWatch, error) {
	if !opensByHandle(w) {
		return nil, nil
	}
	for i := range f.mounts {
		m := &f.mounts[i]
		if m.Dev != w.Dev || fuseName(m.FSType) != "" {
			continue
		}
		p := f.openOn(m, w)
		if p == nil {
			continue
		}
		rec, err := f.named(p, w)
		p.Close()
		if rec != nil || err != nil {
			return rec, err
		}
	}
	return nil, nil
}

// opensByHandle reports whether a file's file system has handles that can be opened.
func opensByHandle(w *proc.InotifyWatch) bool {
	const fileidIno64Gen = 0x81 // of linux/exportfs.h: it only identifies a file
	return w.Handle != "" && w.HandleType != fileidIno64Gen
}

// root returns what is mounted, opened once; nil if it can't be.
func (f *finder) root(m *proc.Mount) *os.File {
	root, known := f.roots[m.ID]
	if known || f.isServed(m.Point) {
		return root
	}
	root, err := walk(m.Point, unix.O_RDONLY|unix.O_NONBLOCK, false)
	if err != nil {
		root = nil
	} else if st, err := quietStat(int(root.Fd()), "", 0); err != nil || int(st.Mnt_id) != m.ID {
		root.Close()
		root = nil
	}
	f.roots[m.ID] = root
	return root
}

// openOn opens the file of a watch by way of a mount.
func (f *finder) openOn(m *proc.Mount, w *proc.InotifyWatch) *os.File {
	root := f.root(m)
	if root == nil {
		return nil
	}
	fd, err := unix.OpenByHandleAt(int(root.Fd()), unix.NewFileHandle(w.HandleType, []byte(w.Handle)), unix.O_PATH|unix.O_CLOEXEC)
	if err == unix.EPERM {
		f.lacks = true
	}
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), "a watched file")
}

// named returns the record of what was opened by handle, if it is the watched file and its
// path leads to it.
func (f *finder) named(p *os.File, w *proc.InotifyWatch) (*record.InotifyWatch, error) {
	if in, err := f.inodeOf(int(p.Fd())); err != nil || in != w.InotifyInode {
		return nil, err
	}
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", p.Fd()))
	if err != nil {
		return nil, err
	}
	rec, err := f.found(p, path)
	if err != nil || rec.Deleted {
		return rec, err
	}
	if !filepath.IsAbs(path) || path == "/" && rec.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(p.Fd()), &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if there, err := f.leadsTo(path, &st); err != nil || !there {
		return nil, err
	}
	return rec, nil
}

// leadsTo is Collector.leadsTo, and not an error where we may not look.
func (f *finder) leadsTo(path string, st *unix.Stat_t) (bool, error) {
	there, err := f.c.leadsTo(path, st)
	if errors.Is(err, unix.EACCES) {
		return false, nil
	}
	return there, err
}

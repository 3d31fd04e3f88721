package mounts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// How a file system that is in memory only is read.

// walker reads the files of a file system.
type walker struct {
	c     *Collector
	f     *fileSystem
	node  uint64            // the last number given
	names map[uint64]uint64 // number by inode number, of files with several names
}

// fileContent is a regular file whose bytes are to be sent.
type fileContent struct {
	fs   uint64 // the object
	node uint64
	at   *os.File // the root of a mount
	path string   // from there
	ino  uint64
}

// walk emits what is in a file system, as far as its mounts lead to it.
func (c *Collector) walk(f *fileSystem) error {
	w := &walker{c: c, f: f, names: map[uint64]uint64{}}
	mounts := slices.Clone(f.mounts)
	slices.SortStableFunc(mounts, func(a, b *mount) int { return len(a.Root) - len(b.Root) })
	var done []string
	for _, m := range mounts {
		seen := slices.ContainsFunc(done, func(root string) bool { _, ok := under(root, m.Root); return ok })
		if m.f == nil || seen && !m.Deleted {
			continue
		}
		if !m.Deleted {
			done = append(done, m.Root)
		}
		node, err := w.file(m, m.f, m.Root)
		if err != nil {
			return err
		}
		if m.Deleted {
			m.Node = node
		}
	}
	return nil
}

// file emits what a file is, and all that is in it if it is a folder. It returns its number.
func (w *walker) file(m *mount, f *os.File, p string) (uint64, error) {
	st, err := statOf(f)
	if err != nil {
		return 0, err
	}
	if len(p) >= unix.PathMax {
		w.c.blockLong(w.f, m, p)
		return 0, nil
	}
	n := record.FSNode{Path: p, Mode: uint32(st.Mode), UID: st.Uid, GID: st.Gid, AtimeNS: nsec(st.Atime), MtimeNS: nsec(st.Mtime),
		Deleted: m.Deleted, Refs: record.FSNodeRef{Of: w.f.ID}}
	if number := w.names[st.Ino]; number != 0 {
		n.Node, n.Again = number, true
		return number, w.c.Emit(record.TypeFSNode, &n)
	}
	w.node++
	n.Node = w.node
	kind := n.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && (st.Nlink > 1 || m.Deleted) {
		w.names[st.Ino] = n.Node
	}
	if n.Xattrs, err = xattrsOf(f); err != nil {
		return 0, err
	}
	switch kind {
	case unix.S_IFREG:
		n.Size = int64(st.Size)
	case unix.S_IFBLK, unix.S_IFCHR:
		n.Rdev = unix.Mkdev(st.Rdev_major, st.Rdev_minor)
	case unix.S_IFLNK:
		if n.Target, err = linkTarget(f); err != nil {
			return 0, err
		}
	}
	if err := w.c.Emit(record.TypeFSNode, &n); err != nil {
		return 0, err
	}
	if n.Size > 0 {
		rest, _ := under(m.Root, p)
		w.c.sends = append(w.c.sends, fileContent{fs: w.f.ID, node: n.Node, at: m.f, path: rest, ino: st.Ino})
	}
	if kind == unix.S_IFDIR {
		return n.Node, w.folder(m, f, p)
	}
	return n.Node, nil
}

// blockLong notes that a path is too long for any call to take, of each file system once.
func (c *Collector) blockLong(f *fileSystem, m *mount, p string) {
	if !f.hasLong {
		f.hasLong = true
		c.Block(f.pid, cli.WithHint(fmt.Errorf("has %s mounted at %s with a path of more than %d bytes in it, which can't be saved: %s", f.Type, short(m.Point), unix.PathMax-1, short(p)),
			"move what is so deep, or remove it"))
	}
}

func (w *walker) folder(m *mount, f *os.File, p string) error {
	names, err := namesIn(f)
	if err != nil {
		return err
	}
	for _, name := range names {
		in, err := openPath(int(f.Fd()), "/"+name, noLinks|unix.RESOLVE_BENEATH|unix.RESOLVE_NO_XDEV)
		if errors.Is(err, unix.ENOENT) {
			continue // somebody who does not stand still has removed it
		}
		if err != nil {
			return err
		}
		_, err = w.file(m, in, path.Join(p, name))
		if err := errors.Join(err, in.Close()); err != nil {
			return err
		}
	}
	return nil
}

// namesIn lists a folder, in order.
func namesIn(f *os.File) ([]string, error) {
	fd, err := unix.Openat(int(f.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOATIME|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: f.Name(), Err: err}
	}
	d := os.NewFile(uintptr(fd), f.Name())
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if errors.Is(err, unix.ENOENT) { // it was deleted
		return nil, nil
	}
	slices.Sort(names)
	return names, err
}

func linkTarget(f *os.File) (string, error) {
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(f.Fd()), "", b)
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: f.Name(), Err: err}
	}
	return string(b[:n]), nil
}

const maxXattrBytes = 1 << 16 // XATTR_SIZE_MAX and XATTR_LIST_MAX of linux/limits.h

// keepsXattr reports whether an extended attribute is the file system's own: labels of
// security modules are the system's.
func keepsXattr(name string) bool {
	return name == capability || !strings.HasPrefix(name, "security.")
}

const capability = "security.capability"

// xattrsOf reads the extended attributes of a file that is open with O_PATH.
func xattrsOf(f *os.File) (attrs []record.Xattr, err error) {
	link, names := fdPath(f), make([]byte, maxXattrBytes)
	n, err := unix.Listxattr(link, names)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("extended attributes of %s: %w", f.Name(), err)
	}
	for name := range bytes.SplitSeq(bytes.TrimSuffix(names[:n], []byte{0}), []byte{0}) {
		if len(name) == 0 || !keepsXattr(string(name)) {
			continue
		}
		value := make([]byte, maxXattrBytes)
		n, err := unix.Getxattr(link, string(name), value)
		if err != nil {
			return nil, fmt.Errorf("extended attribute %s of %s: %w", name, f.Name(), err)
		}
		attrs = append(attrs, record.Xattr{Name: string(name), Value: bytes.Clone(value[:n])})
	}
	return attrs, nil
}

// fdPath is a path to an open file, whatever its name.
func fdPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// Send writes the bytes of all files.
func (c *Collector) Send(w *stream.Writer, byReference func() bool) error {
	for i := range c.sends {
		if err := c.sends[i].send(w, byReference); err != nil {
			return err
		}
	}
	return nil
}

func (s *fileContent) send(w *stream.Writer, byReference func() bool) error {
	p, err := openPath(int(s.at.Fd()), s.path, noLinks|unix.RESOLVE_BENEATH|unix.RESOLVE_NO_XDEV)
	if s.path == "/" {
		p, err = dup(s.at)
	}
	if err != nil {
		return err
	}
	defer p.Close()
	if st, err := statOf(p); err != nil || st.Ino != s.ino || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.Join(err, fmt.Errorf("%s is no longer the file that was described", s.path))
	}
	f, err := os.OpenFile(fdPath(p), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOATIME, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.sendParts(w, f, byReference)
}

// sendParts writes FSDATA records for the parts of f that are not holes.
func (s *fileContent) sendParts(w *stream.Writer, f *os.File, byReference func() bool) error {
	return sys.EachPart(f, stream.DataChunkBytes, func(at, n int64) error { return s.sendPart(w, f, at, n, byReference()) })
}

func (s *fileContent) sendPart(w *stream.Writer, f *os.File, at, n int64, byReference bool) error {
	rec, err := stream.New(record.TypeFSData, &record.FSData{Node: s.node, Offset: at, Refs: record.InodeRef{Inode: s.fs}})
	if err != nil {
		return err
	}
	rec.DataLen = n
	if _, err := f.Seek(at, io.SeekStart); err != nil {
		return err
	}
	var src io.Reader = f
	if !byReference {
		src = io.LimitReader(f, n) // hides the file, so that it is copied and not spliced
	}
	return w.Write(rec, src)
}

func dup(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// Close lets go of all mounts.
func (c *Collector) Close() error {
	var errs []error
	for _, s := range c.spaces {
		errs = append(errs, closed(s.whole))
		for _, m := range s.list {
			if m.f != nil {
				errs = append(errs, m.f.Close())
			}
		}
	}
	return errors.Join(errs...)
}

package mounts

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/stream"
	"ckpt/stream/record"
)

// How the files of a file system that is in memory are made again. All that is done is done
// from its root or an open folder, without following links.

// tree is the files of one file system, as they are to be.
type tree struct {
	nodes  []*record.FSNode
	at     map[string]*record.FSNode // by path, all that have one
	byNode map[uint64]*record.FSNode // the first of each
	// nameless are those that were deleted and are the root of a mount.
	nameless map[uint64]*nameless
}

// nameless is a file that has a name only until its mounts are made.
type nameless struct {
	name  string // in the root
	isDir bool
	f     *os.File
}

func newTree() *tree {
	return &tree{at: map[string]*record.FSNode{}, byNode: map[uint64]*record.FSNode{}, nameless: map[uint64]*nameless{}}
}

// add adds a name, if it can be one.
func (t *tree) add(n *record.FSNode) error {
	bad := func(what string) error {
		return fmt.Errorf("%w: file %d, %q: %s", stream.ErrCorrupt, n.Node, short(n.Path), what)
	}
	first := t.byNode[n.Node]
	kind := n.Mode & unix.S_IFMT
	switch {
	case !isClean(n.Path) || len(n.Path) >= unix.PathMax:
		return bad("no path of a file")
	case n.Node == 0, n.Again && (first == nil || first.Deleted || first.Mode&unix.S_IFMT == unix.S_IFDIR), !n.Again && first != nil:
		return bad("a number that is taken, or that is not there")
	case n.Deleted && n.Again, !n.Deleted && t.at[n.Path] != nil:
		return bad("it stands before")
	case !slices.Contains([]uint32{unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK, unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK}, kind):
		return bad(fmt.Sprintf("mode %#o", n.Mode))
	case !n.Again && (kind == unix.S_IFLNK) != (n.Target != "") || len(n.Target) >= unix.PathMax || strings.Contains(n.Target, "\x00"):
		return bad("a symbolic link to nowhere")
	case n.Size < 0 || n.Path == "/" && kind != unix.S_IFDIR:
		return bad("no such file")
	}
	if up := t.at[path.Dir(n.Path)]; !n.Deleted && n.Path != "/" && up != nil && up.Mode&unix.S_IFMT != unix.S_IFDIR {
		return bad("it is in what is no folder")
	}
	for _, a := range n.Xattrs {
		if len(a.Name) > 255 || strings.Contains(a.Name, "\x00") || len(a.Value) > maxXattrBytes || !keepsXattr(a.Name) {
			return bad("extended attribute " + short(a.Name))
		}
	}
	t.nodes = append(t.nodes, n)
	if !n.Again {
		t.byNode[n.Node] = n
	}
	if !n.Deleted {
		t.at[n.Path] = n
	}
	return nil
}

func (t *tree) close() error {
	var errs []error
	for _, n := range t.nameless {
		errs = append(errs, closed(n.f))
	}
	return errors.Join(errs...)
}

// makeTree makes all files, without their bytes.
func (r *Restorer) makeTree(f *fileSystem) error {
	for _, n := range f.tree.nodes {
		if err := r.makeNode(f, n); err != nil {
			return fmt.Errorf("%s in %s: %w", n.Path, f.at(), err)
		}
	}
	return f.setTimes() // files are compared with their records before their bytes are in
}

// setTimes gives all files their times.
func (f *fileSystem) setTimes() error {
	for _, n := range f.tree.nodes {
		if n.Again {
			continue
		}
		p, err := f.file(n)
		if err == nil {
			err = errors.Join(setTimesOf(p, n), p.Close())
		}
		if err != nil {
			return fmt.Errorf("%s in %s: %w", n.Path, f.at(), err)
		}
	}
	return nil
}

func setTimesOf(p *os.File, n *record.FSNode) error {
	times := []unix.Timespec{unix.NsecToTimespec(n.AtimeNS), unix.NsecToTimespec(n.MtimeNS)}
	return os.NewSyscallError("utimensat", unix.UtimesNanoAt(unix.AT_FDCWD, fdPath(p), times, 0))
}

func (r *Restorer) makeNode(f *fileSystem, n *record.FSNode) error {
	if n.Path == "/" && !n.Deleted {
		return r.dress(f.base, n)
	}
	folder, name := f.base, path.Base(n.Path)
	if n.Deleted {
		name = ".ckpt-" + rand.Text()
	} else {
		var err error
		if folder, err = f.folder(path.Dir(n.Path)); err != nil {
			return err
		}
		defer folder.Close()
	}
	if n.Again {
		return f.linkAgain(folder, name, n)
	}
	if err := create(int(folder.Fd()), name, n); err != nil {
		return err
	}
	made, err := openPath(int(folder.Fd()), "/"+name, beneath)
	if err != nil {
		return err
	}
	if !n.Deleted {
		defer made.Close()
	} else {
		f.tree.nameless[n.Node] = &nameless{name: name, isDir: n.Mode&unix.S_IFMT == unix.S_IFDIR, f: made}
	}
	return r.dress(made, n)
}

// beneath: nothing leads out of a folder, nor to another mount.
const beneath = noLinks | unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV

// open opens what is at a path in the file system itself, with O_PATH.
func (f *fileSystem) open(p string) (*os.File, error) {
	if p == "/" {
		return dup(f.base)
	}
	return openPath(int(f.base.Fd()), p, beneath)
}

// folder opens a folder. What no record tells of is made: of a file system may be known only
// what a mount showed.
func (f *fileSystem) folder(p string) (*os.File, error) {
	d, err := f.open(p)
	if !errors.Is(err, unix.ENOENT) {
		return d, err
	}
	up, err := f.folder(path.Dir(p))
	if err != nil {
		return nil, err
	}
	defer up.Close()
	if err := unix.Mkdirat(int(up.Fd()), path.Base(p), 0o755); err != nil {
		return nil, os.NewSyscallError("mkdirat", err)
	}
	return f.open(p)
}

// linkAgain gives a file one more name.
func (f *fileSystem) linkAgain(folder *os.File, name string, n *record.FSNode) error {
	first, err := f.open(f.tree.byNode[n.Node].Path)
	if err != nil {
		return err
	}
	defer first.Close()
	return os.NewSyscallError("linkat", unix.Linkat(unix.AT_FDCWD, fdPath(first), int(folder.Fd()), name, unix.AT_SYMLINK_FOLLOW))
}

// create makes a file, which is nobody's yet.
func create(folder int, name string, n *record.FSNode) error {
	switch kind := n.Mode & unix.S_IFMT; kind {
	case unix.S_IFREG:
		fd, err := unix.Openat(folder, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return os.NewSyscallError("openat", err)
		}
		return errors.Join(os.NewSyscallError("ftruncate", unix.Ftruncate(fd, n.Size)), unix.Close(fd))
	case unix.S_IFDIR:
		return os.NewSyscallError("mkdirat", unix.Mkdirat(folder, name, 0o700))
	case unix.S_IFLNK:
		return os.NewSyscallError("symlinkat", unix.Symlinkat(n.Target, folder, name))
	default:
		return os.NewSyscallError("mknodat", unix.Mknodat(folder, name, kind|0o600, int(n.Rdev)))
	}
}

// dress gives a new file its owner, permissions and attributes. An image may claim anything,
// and it must not bring a file into being by which anybody becomes another user.
func (r *Restorer) dress(f *os.File, n *record.FSNode) error {
	trusted := r.Owns != nil && r.Owns(n.UID, n.GID)
	root := r.Owns != nil && r.Owns(0, 0)
	const setID = unix.S_ISUID | unix.S_ISGID
	mode, kind := n.Mode&0o7777, n.Mode&unix.S_IFMT
	if (kind == unix.S_IFCHR || kind == unix.S_IFBLK) && !root && !isHarmless(kind, n.Rdev) {
		r.note("the device %s (%d:%d) comes back as root's and without permissions, because not all processes of the image are root's", n.Path, unix.Major(n.Rdev), unix.Minor(n.Rdev))
		return os.NewSyscallError("chmod", unix.Chmod(fdPath(f), 0)) // and its owner is who made it: nobody else may change that
	}
	if kind == unix.S_IFREG && mode&setID != 0 && !trusted {
		mode &^= setID
		r.note("%s comes back without its set-user-id and set-group-id bits, because not all processes of the image are its owner's and group's", n.Path)
	}
	if err := unix.Fchownat(int(f.Fd()), "", int(n.UID), int(n.GID), unix.AT_EMPTY_PATH); err != nil {
		return os.NewSyscallError("fchownat", err)
	}
	if kind != unix.S_IFLNK {
		if err := unix.Chmod(fdPath(f), mode); err != nil {
			return os.NewSyscallError("chmod", err)
		}
	}
	for _, a := range n.Xattrs {
		if a.Name == capability {
			switch {
			case !root:
				r.note("%s comes back without its capabilities, because not all processes of the image are root's", n.Path)
			case !trusted || n.UID != 0:
				r.note("%s comes back without its capabilities, because it is not root's", n.Path)
			}
			continue // writing to it would remove them, see setCapabilities
		}
		if err := setXattr(f, a); err != nil {
			return err
		}
	}
	return nil
}

func setXattr(f *os.File, a record.Xattr) error {
	if err := unix.Setxattr(fdPath(f), a.Name, a.Value, 0); err != nil {
		return fmt.Errorf("extended attribute %s: %w", a.Name, err)
	}
	return nil
}

// isHarmless reports whether a device may be made for anybody: null, zero, full, random,
// urandom, tty, console, ptmx, fuse and tun, which every container has or asks what may be
// done with it.
func isHarmless(kind uint32, rdev uint64) bool {
	harmless := map[uint64]bool{
		unix.Mkdev(1, 3): true, unix.Mkdev(1, 5): true, unix.Mkdev(1, 7): true, unix.Mkdev(1, 8): true, unix.Mkdev(1, 9): true,
		unix.Mkdev(5, 0): true, unix.Mkdev(5, 2): true, unix.Mkdev(10, 200): true, unix.Mkdev(10, 229): true,
	}
	return rdev == 0 || kind == unix.S_IFCHR && harmless[rdev] // 0:0 is a whiteout of an overlay
}

func (r *Restorer) note(format string, args ...any) {
	if r.Note != nil {
		r.Note(format, args...)
	}
}

// Fill writes bytes to where they belong.
func (r *Restorer) Fill(d *record.FSData, data io.Reader, n int64) error {
	f := r.fs[d.Refs.Inode]
	if f == nil || f.tree == nil {
		return fmt.Errorf("%w: bytes for file system %d, which takes none", stream.ErrCorrupt, d.Refs.Inode)
	}
	node := f.tree.byNode[d.Node]
	if node == nil || node.Mode&unix.S_IFMT != unix.S_IFREG || d.Offset < 0 || n > node.Size-d.Offset {
		return fmt.Errorf("%w: %d bytes at %d of file %d in file system %d", stream.ErrCorrupt, n, d.Offset, d.Node, d.Refs.Inode)
	}
	if f.base == nil { // nothing of it is mounted
		_, err := io.Copy(io.Discard, data)
		return err
	}
	p, err := f.file(node)
	if err != nil {
		return err
	}
	defer p.Close()
	w, err := os.OpenFile(fdPath(p), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer w.Close()
	copied, err := io.Copy(io.NewOffsetWriter(w, d.Offset), data)
	if err != nil {
		return fmt.Errorf("write to %s in %s: %w", node.Path, f.at(), err)
	}
	if copied != n {
		return stream.ErrTruncated
	}
	return setTimesOf(p, node) // it may be compared with its record once more, as an executable is
}

// file opens a file of the tree with O_PATH.
func (f *fileSystem) file(n *record.FSNode) (*os.File, error) {
	if gone := f.tree.nameless[n.Node]; gone != nil {
		return dup(gone.f)
	}
	return f.open(n.Path)
}

// setCapabilities sets those of all files, which writing to them would have removed.
func (r *Restorer) setCapabilities(f *fileSystem) error {
	for _, n := range f.tree.nodes {
		for _, a := range n.Xattrs {
			if a.Name != capability || n.Again || n.UID != 0 || r.Owns == nil || !r.Owns(n.UID, n.GID) {
				continue
			}
			p, err := f.file(n)
			if err != nil {
				return err
			}
			if err := errors.Join(setXattr(p, a), p.Close()); err != nil {
				return fmt.Errorf("%s in %s: %w", n.Path, f.at(), err)
			}
		}
	}
	return nil
}

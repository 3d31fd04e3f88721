package mounts

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/ends"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Restorer makes the mount namespaces of one restart: the records are added, then come
// Check, Make, Fill for each record of bytes, Finish, and at the end, also of a restart that
// failed, Close.
type Restorer struct {
	SameBoot bool   // the image is of this boot of this system
	Root     string // a folder of the host that takes the place of what is at /; "": none
	// Decided returns the user's decision for a mount point, or nil.
	Decided func(point string) *ends.Decision
	// Owns reports whether all processes of the image belong to a user and group, so that
	// what runs with their rights gives them nothing.
	Owns func(uid, gid uint32) bool
	// Apart: the tree is restored in another pid namespace than it had, whose processes /proc shows here.
	Apart bool
	// Users are those of an image in which no process is root's, and empty if one is. Such an
	// image must not bring them to what they could not reach, nor to the rights of others.
	Users func() []*sys.FSIdentity
	Note  func(format string, args ...any)
	// Checking: nothing on the host may change, and what is made is only looked at.
	Checking bool

	host   []proc.Mount
	table  []*mount // the same as a tree, made when it is needed
	fs     map[uint64]*fileSystem
	order  []*fileSystem // as they came
	spaces map[uint64]*space
	list   []*space
	made   map[uint64]*Namespace
	yard   *os.File // the namespace of the yard
}

// Namespace is a mount namespace that was made.
type Namespace struct {
	File *os.File // itself, for setns(2)
	root *mount
	byID map[int]*mount
}

// Root is its root folder, open with O_PATH.
func (n *Namespace) Root() *os.File { return n.root.f }

// Find opens what a path leads to on a mount with a number, below all that is mounted over it.
// It was asked for before the namespace was made.
func (n *Namespace) Find(id int, p string) (*os.File, error) {
	m := n.byID[id]
	if m == nil || m.found[p] == nil {
		return nil, unix.ENOENT
	}
	return dup(m.found[p])
}

// Want asks that a path on a mount can be found in a namespace.
func (r *Restorer) Want(of uint64, id int, p string) {
	s := r.spaces[of]
	if s == nil {
		return
	}
	for _, m := range s.list {
		if m.ID == id {
			m.wanted = append(m.wanted, p)
		}
	}
}

// findWanted opens what is wanted on a mount, when nothing is mounted on that yet.
func (m *mount) findWanted() error {
	m.found = map[string]*os.File{}
	for _, p := range m.wanted {
		rest, ok := under(m.Point, p)
		if !ok || !isClean(p) || m.found[p] != nil {
			continue
		}
		f, err := openPath(int(m.f.Fd()), rest, beneath)
		if rest == "/" {
			f, err = dup(m.f)
		}
		if err == nil {
			m.found[p] = f
		} else if !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

// Filesystem adds a file system.
func (r *Restorer) Filesystem(f *record.Filesystem) error {
	if r.fs == nil {
		r.fs, r.spaces = map[uint64]*fileSystem{}, map[uint64]*space{}
	}
	if f.Objref == 0 || r.fs[f.Objref] != nil {
		return fmt.Errorf("%w: file system %d", stream.ErrCorrupt, f.Objref)
	}
	fs := &fileSystem{Filesystem: f}
	if f.How == record.FSTree {
		fs.tree = newTree()
	}
	r.fs[f.Objref] = fs
	r.order = append(r.order, fs)
	return nil
}

// Mount adds a mount.
func (r *Restorer) Mount(m *record.Mount) error {
	fs := r.fs[m.Refs.FS]
	if fs == nil {
		return fmt.Errorf("%w: a mount of file system %d, which is not there", stream.ErrCorrupt, m.Refs.FS)
	}
	s := r.spaces[m.Refs.Of]
	if s == nil {
		s = &space{of: m.Refs.Of}
		r.spaces[m.Refs.Of] = s
		r.list = append(r.list, s)
	}
	in := &mount{Mount: m, fs: fs}
	fs.mounts = append(fs.mounts, in)
	s.list = append(s.list, in)
	return nil
}

// Node adds a file to a file system.
func (r *Restorer) Node(n *record.FSNode) error {
	fs := r.fs[n.Refs.Of]
	if fs == nil || fs.tree == nil {
		return fmt.Errorf("%w: %s is in file system %d, which takes no files", stream.ErrCorrupt, short(n.Path), n.Refs.Of)
	}
	return fs.tree.add(n)
}

// Objects lists the objects that mounts were added to.
func (r *Restorer) Objects() (of []uint64) {
	for _, s := range r.list {
		of = append(of, s.of)
	}
	return of
}

// Made returns the namespace that an object is.
func (r *Restorer) Made(of uint64) *Namespace { return r.made[of] }

// MadeDev reports whether a device number is of a file system that was made in this restart, so
// that whatever is there is of the image.
func (r *Restorer) MadeDev(dev uint64) bool {
	return slices.ContainsFunc(r.order, func(fs *fileSystem) bool { return fs.newDev != 0 && fs.newDev == dev })
}

// Close lets go of everything. A namespace in which no process is goes, with all its mounts.
func (r *Restorer) Close() error {
	var errs []error
	for _, s := range r.list {
		for _, m := range s.list {
			errs = append(errs, closed(m.f), closed(m.target))
			for _, f := range m.found {
				errs = append(errs, f.Close())
			}
		}
		if n := r.made[s.of]; n != nil {
			errs = append(errs, closed(n.File))
		}
	}
	for _, fs := range r.order {
		errs = append(errs, closed(fs.base))
		if fs.tree != nil {
			errs = append(errs, fs.tree.close())
		}
	}
	return errors.Join(append(errs, closed(r.yard))...)
}

func closed(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

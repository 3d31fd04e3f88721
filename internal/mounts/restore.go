package mounts

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Decision is what the user decided for a mount point.
type Decision struct {
	Path  string // a folder or file of the host that takes its place
	Leave bool   // it is left out, with all that is mounted on it
}

// Restorer makes the mount namespaces of one restart: the records are added, then come
// Check, Make, Fill for each record of bytes, Finish, and at the end, also of a restart that
// failed, Close.
type Restorer struct {
	SameBoot bool   // the image is of this boot of this system
	Root     string // a folder of the host that takes the place of what is at /; "": none
	// Decided returns the user's decision for a mount point, or nil.
	Decided func(point string) *Decision
	// Owns reports whether all processes of the image belong to a user and group, so that
	// what runs with their rights gives them nothing.
	Owns func(uid, gid uint32) bool
	// Namespace returns a file of the namespace that was of a kind (pid, net, ipc) and had an
	// inode number; nil if it is the one we are in.
	Namespace func(kind string, ino uint64) (*os.File, error)
	Note      func(format string, args ...any)

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

// Mount returns the root of the mount that had a number, open with O_PATH; nil if there is
// none.
func (n *Namespace) Mount(id int) *os.File {
	if m := n.byID[id]; m != nil {
		return m.f
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
		return fmt.Errorf("%w: %s is in file system %d, which takes no files", stream.ErrCorrupt, n.Path, n.Refs.Of)
	}
	return fs.tree.add(n)
}

// Made returns the namespace that an object is.
func (r *Restorer) Made(of uint64) *Namespace { return r.made[of] }

// MadeFile reports whether a file is in a file system that was made in this restart, so that
// whatever is there is of the image.
func (r *Restorer) MadeFile(f *os.File) bool {
	st, err := statOf(f)
	return err == nil && slices.ContainsFunc(r.order, func(fs *fileSystem) bool { return fs.newDev != 0 && fs.newDev == devOf(&st) })
}

// Close lets go of everything. A namespace in which no process is goes, with all its mounts.
func (r *Restorer) Close() error {
	var errs []error
	for _, s := range r.list {
		for _, m := range s.list {
			errs = append(errs, closed(m.f), closed(m.target))
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

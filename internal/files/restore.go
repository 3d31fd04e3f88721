package files

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/depot"
	"ckpt/internal/ends"
	"ckpt/internal/objhash"
	"ckpt/stream"
)

// Restorer makes open files again. The hash holds one reference on each while
// the restart lasts; the files of the depot are those references.
type Restorer struct {
	Depot    *depot.Depot
	Hash     *objhash.Hash[objhash.Object]
	Policies Policies
	Stdio    Stdio
	// Own is what this process may do; nil on paper.
	Own *caps.Process
	// Paper: Check does not look at this system, nor asks for decisions.
	Paper bool
	Ends  *ends.Decisions
	// Root is the process id of the first process.
	Root int
	// Who names a process for people.
	Who func(pid int) string
	// Elsewhere reports whether something is used other than by descriptors.
	Elsewhere func(objref uint64) bool
	// Users are the tasks that use what paths lead to, by the inode's objref.
	Users map[uint64]*User
	// Pair, if not nil, makes a pair of unix sockets of a type as their maker did.
	Pair func(kind int, maker *stream.PeerCred) ([2]int, error)
	// SameBoot: the system was not started again since the checkpoint, so that
	// devices have the numbers they had.
	SameBoot bool
	// InTree reports whether the image has a process or thread.
	InTree func(id int) bool
	// Mapped is how address spaces use files.
	Mapped map[uint64]Mapped
	// Note tells the user of something that is not as it was.
	Note func(format string, args ...any)
	// Lives says whether the image has a process.
	Lives func(pid int) bool
	// Owns says whether all processes of the image have a user and a group id.
	Owns func(uid, gid uint32) bool
	// Termios are, after Object, the settings of the terminal the program had.
	Termios []byte

	plan   plan
	uses   map[uint64]*use // of what is open
	regs   map[uint64]*stream.Reg
	cuts   []cut
	later  []laterFD
	extra  uint64 // objects put in the hash that no record defines
	memfds []*memfd
	owned  []owned
	async  map[uint64]bool      // FILEs that are to have O_ASYNC
	ends   map[uint64]*unixSock // sockets by inode number that wait for their other end's record
}

// file is a live open file description.
type file struct {
	f *depot.File
	// s is what to open once all tasks are there, while f is nil
	s *stream.File
}

func (f *file) Close() error { return f.f.Close() }

// keep puts a file that was just opened into the depot.
func (r *Restorer) keep(f *os.File, err error) (*depot.File, error) {
	if err != nil {
		return nil, err
	}
	return r.Depot.Keep(f)
}

func (r *Restorer) file(objref uint64) (*file, error) {
	obj, err := r.Hash.Get(objref, stream.TypeFile)
	if err != nil {
		return nil, err
	}
	f := obj.(*file)
	if f.f == nil {
		f.f, err = r.keep(r.openFile(f.s))
	}
	return f, err
}

// late reports whether a description can't be opened before all tasks, and what
// else they have open, are there.
func (r *Restorer) late(objref uint64) bool {
	obj, err := r.Hash.Get(objref)
	f, ok := obj.(*file)
	return err == nil && ok && f.s != nil
}

// Open opens what an objref names.
func (r *Restorer) Open(objref uint64, flags int) (*os.File, error) {
	obj, err := r.Hash.Get(objref)
	if err != nil {
		return nil, err
	}
	in, ok := obj.(interface{ Open(int) (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("%w: object %d can't be opened", stream.ErrCorrupt, objref)
	}
	return in.Open(flags)
}

// Object restores what the record of a kind, or a FILE record, describes.
func (r *Restorer) Object(rec *stream.Record) error {
	var o stream.Object
	if err := rec.Decode(&o); err != nil {
		return err
	}
	if rec.Type == stream.TypeFile {
		f, err := r.restoreFile(rec, o.Objref)
		if err != nil || f == nil {
			return err
		}
		return r.Hash.Add(o.Objref, rec.Type, f)
	}
	if name, ok := r.plan.unneeded[o.Objref]; ok {
		return r.Hash.Add(o.Objref, rec.Type, replaced(name))
	}
	in, err := Find(rec.Type).Restore(r, rec)
	if err != nil {
		return err
	}
	return r.Hash.Add(o.Objref, rec.Type, in)
}

// replaced is a thing that is not made, for something else has its place.
type replaced string

func (replaced) Close() error                   { return nil }
func (replaced) ContentFile() (*os.File, error) { return nil, nil }

// dropped tells of what waited in a thing that is not made.
func (r *Restorer) dropped(name replaced, n int64) {
	r.Note("%d bytes that waited in %s are lost, for something else takes its place", n, string(name))
}

// restoreFile opens a description. One that is closed is nil.
func (r *Restorer) restoreFile(rec *stream.Record, objref uint64) (*file, error) {
	s, err := decode[stream.File](rec)
	if err != nil {
		return nil, err
	}
	if sub := r.plan.files[objref]; sub != nil {
		if sub.closes() {
			return nil, nil
		}
		f, err := r.keep(sub.open())
		return &file{f: f}, err
	}
	if obj, err := r.Hash.Get(s.Refs.Inode); err == nil {
		if _, ok := obj.(*procFile); ok {
			return &file{s: s}, nil
		}
	}
	f, err := r.keep(r.openFile(s))
	if err != nil {
		return nil, err
	}
	if s.Owner != nil {
		if r.async == nil {
			r.async = map[uint64]bool{}
		}
		r.owned = append(r.owned, owned{f, s})
		if s.Flags&unix.O_ASYNC != 0 {
			r.async[objref] = true
		}
	}
	return &file{f: f}, nil
}

// openFile opens what a FILE record describes, at its position. O_ASYNC is set
// when a task has it.
func (r *Restorer) openFile(s *stream.File) (*os.File, error) {
	f, err := r.Open(s.Refs.Inode, int(s.Flags&fileFlags))
	if err != nil {
		return nil, err
	}
	pos, err := r.grown(s, f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if s.Flags&unix.O_PATH == 0 && pos != 0 {
		if _, err := unix.Seek(int(f.Fd()), pos, io.SeekStart); err != nil && !errors.Is(err, unix.ESPIPE) {
			return nil, errors.Join(fmt.Errorf("seek to %d in %s: %w", pos, f.Name(), err), f.Close())
		}
	}
	return f, nil
}

// owned is a description that sends signals to somebody.
type owned struct {
	f *depot.File
	s *stream.File
}

// SetOwners tells descriptions whom to send signals to, once all tasks exist.
func (r *Restorer) SetOwners() error {
	for _, o := range r.owned {
		if err := r.setOwner(o.f, o.s); err != nil {
			return err
		}
	}
	return nil
}

// Finish completes objects when all contents are in.
func (r *Restorer) Finish(objrefs []uint64) error {
	for _, ref := range objrefs {
		obj, err := r.Hash.Get(ref)
		if err != nil {
			return err
		}
		if o, ok := obj.(interface{ Finish() error }); ok {
			if err := o.Finish(); err != nil {
				return err
			}
		}
	}
	return nil
}

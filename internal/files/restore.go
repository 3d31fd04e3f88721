package files

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/ends"
	"ckpt/internal/object"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Restorer makes open files again. The hash holds one reference on each while
// the restart lasts; the files of the depot are those references.
type Restorer struct {
	*object.Restart
	Policies Policies
	Stdio    Stdio
	Ends     *ends.Decisions
	// Root is the process id of the first process.
	Root int
	// Elsewhere reports whether something is used other than by descriptors.
	Elsewhere func(objref uint64) bool
	// Users are the tasks that use what paths lead to, by the inode's objref.
	Users map[uint64]*User
	// Pair, if not nil, makes a pair of unix sockets of a type as their maker did.
	Pair func(kind int, maker *record.PeerCred) ([2]int, error)
	// SameBoot: the system was not started again since the checkpoint, so that
	// devices have the numbers they had.
	SameBoot bool
	// InTree reports whether the image has a process or thread.
	InTree func(id int) bool
	// Mapped is how address spaces use files.
	Mapped map[uint64]Mapped
	// Lives says whether the image has a process.
	Lives func(pid int) bool
	// Owns says whether all processes of the image have a user and a group id.
	Owns func(uid, gid uint32) bool
	// Termios are, when all objects are made, the settings of the terminal the
	// program had.
	Termios []byte

	makers map[record.Type]*Maker // of Kinds
	plan   plan
	uses   map[uint64]*use // of what is open
	regs   map[uint64]*record.Reg
	later  []laterFD
	extra  uint64 // objects put in the hash that no record defines
}

// file is a live open file description.
type file struct {
	object.Base
	r     *Restorer
	f     *depot.File   // nil of one that is opened later
	rec   *record.File  // nil of what takes the place of another
	inode object.Object // the same
	async bool          // it is to have O_ASYNC, which a task sets
}

func (f *file) Close() error { return f.f.Close() }

// Late is when it is opened: 0 at once, else in this order when all tasks, and
// what else they have open, are there.
func (f *file) Late() int {
	if f.inode == nil {
		return 0
	}
	return f.inode.Late()
}

// Attach tells it which signals to send, and whom.
func (f *file) Attach(object.Tasks) error {
	if f.rec == nil || f.rec.Owner == nil && f.rec.Sig == 0 || f.f == nil {
		return nil
	}
	return f.r.setOwner(f.f, f.rec)
}

// keep puts a file that was just opened into the depot.
func (r *Restorer) keep(f *os.File, err error) (*depot.File, error) {
	if err != nil {
		return nil, err
	}
	return r.Depot.Keep(f)
}

func (r *Restorer) file(objref uint64) (*file, error) {
	obj, err := r.Hash.Get(objref, record.TypeFile)
	if err != nil {
		return nil, err
	}
	f := obj.(*file)
	if f.f == nil {
		f.f, err = r.keep(r.openFile(f.rec))
	}
	return f, err
}

// made returns a description that was made, nil if there is none, for all that
// have it get something else.
func (r *Restorer) made(objref uint64) *file {
	obj, err := r.Hash.Get(objref, record.TypeFile)
	if err != nil {
		return nil
	}
	return obj.(*file)
}

// Open opens what an objref names.
func (r *Restorer) Open(objref uint64, flags int) (*os.File, error) {
	obj, err := r.Hash.Get(objref)
	if err != nil {
		return nil, err
	}
	f, err := obj.Open(flags)
	if errors.Is(err, stream.ErrCorrupt) {
		err = fmt.Errorf("object %d: %w", objref, err)
	}
	return f, err
}

// replaced is a thing that is not made, for something else has its place.
type replaced struct {
	object.Base
	name string
	note func(format string, args ...any)
}

// Fill tells of what waited in it.
func (d *replaced) Fill(rec *stream.Record, _ io.Reader) error {
	if rec.Type != record.TypeContent {
		d.note("%d bytes that waited in %s are lost, for something else takes its place", rec.DataLen, d.name)
	}
	return nil
}

// makeFile opens a description. One that is closed is nil.
func (r *Restorer) makeFile(rec *stream.Record) (object.Object, error) {
	s, err := decode[record.File](rec)
	if err != nil {
		return nil, err
	}
	f := &file{r: r}
	if sub := r.plan.files[s.Objref]; sub != nil {
		if sub.closes() {
			return nil, nil
		}
		if f.f, err = r.keep(sub.open()); err != nil {
			return nil, err
		}
		return f, nil
	}
	f.rec, f.async = s, s.Flags&unix.O_ASYNC != 0
	if f.inode, err = r.Hash.Get(s.Refs.Inode); err != nil {
		return nil, err
	}
	if f.Late() > 0 {
		return f, nil
	}
	if f.f, err = r.keep(r.openFile(s)); err != nil {
		return nil, err
	}
	return f, nil
}

// openFile opens what a FILE record describes, at its position. O_ASYNC is set
// when a task has it.
func (r *Restorer) openFile(s *record.File) (*os.File, error) {
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

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

// Restorer restores open files. The hash holds one reference to each while the
// restart lasts; the files in the depot are those references.
type Restorer struct {
	*object.Restart
	Policies Policies
	Stdio    Stdio
	Ends     *ends.Decisions
	// Root is the process id of the first process.
	Root int
	// Elsewhere reports whether an object is used by anything but descriptors.
	Elsewhere func(objref uint64) bool
	// Users are the tasks that use files with a path, by the inode's objref.
	Users map[uint64]*User
	// Pair, if not nil, makes a socketpair(2) of this type with the credentials
	// of its original maker. Unless untold is set, the user is told if that can't be.
	Pair func(kind int, maker *record.PeerCred, untold bool) ([2]int, error)
	// Call, if not nil, makes a call on a unix socket with the credentials of its
	// original caller.
	Call func(by *record.PeerCred, c *SockCall) error
	// SameBoot: the system was not rebooted since the checkpoint, so devices
	// have the same numbers.
	SameBoot bool
	// Apart: the tree is in a pid namespace of its own, where nobody outside is seen.
	Apart bool
	// Checking: nothing will be restored.
	Checking bool
	// Checkpoint is the id of the image, and Killed says that the tree was to be killed
	// when it was stored.
	Checkpoint string
	Killed     bool
	// Clocks are what the program's clocks showed when it was saved; nil if the image
	// does not tell.
	Clocks *record.Clocks
	// InTree reports whether the image has a process or thread.
	InTree func(id int) bool
	// HasGroup reports whether a session of the image, or any if sid is 0, has a
	// process group with somebody in it.
	HasGroup func(sid, pgid int) bool
	// Mapped says how address spaces use a file, by its objref.
	Mapped map[uint64]Mapped
	// MadeDev reports whether a device number is of a file system that this restart made; nil
	// if it made none.
	MadeDev func(dev uint64) bool
	// Lives reports whether the image has this process.
	Lives func(pid int) bool
	// Owns reports whether all processes of the image have these user and group
	// ids.
	Owns func(uid, gid uint32) bool
	// Termios holds, when all objects are made, the settings of the terminal
	// that the program had.
	Termios []byte

	clearSockets func() error           // removes the folders in which unix sockets were bound
	makers       map[record.Type]*Maker // of Kinds
	replacements replacements
	uses         map[uint64]*use // of open files, by objref
	regs         map[uint64]*record.Reg
	leased       map[uint64]bool // files on which the program has a lease, by objref
	later        []laterFD
	found        map[uint64]*found // files that the check keeps open, by objref
	extra        uint64            // number of objects in the hash that no record defines
	certain      []func() error    // see Certain
	freed        []func() error    // see Freed
}

// file is a live open file description.
type file struct {
	object.Base
	r     *Restorer
	f     *depot.File   // nil if it is opened later
	lent  bool          // the object's own
	rec   *record.File  // nil if it is a substitute
	inode object.Object // nil if it is a substitute
	async bool          // O_ASYNC is to be set, from inside a task

	owned  bool // somebody gets its signals
	leased bool // it has its lease again
}

func (f *file) Close() error {
	if f.lent {
		return nil
	}
	return f.f.Close()
}

// Late says when it is opened: 0 at once; otherwise when all tasks and their
// other descriptors are there, in ascending order.
func (f *file) Late() int {
	if f.inode == nil {
		return 0
	}
	return f.inode.Late()
}

// Attach sets which signals it sends, and who gets them (F_SETSIG, F_SETOWN).
func (f *file) Attach(object.Tasks) (err error) {
	if f.rec == nil || f.rec.Owner == nil && f.rec.Sig == 0 || f.f == nil {
		return nil
	}
	f.owned, err = f.r.setSignalOwner(f.f, f.rec)
	return err
}

// Certain is called when all tasks only have to be let go.
func (r *Restorer) Certain() error {
	for _, do := range r.certain {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// Freed is called when the tasks would live on without us, and don't run yet: connections to
// others go on. The user is told what fails.
func (r *Restorer) Freed() {
	for _, do := range r.freed {
		if err := do(); err != nil {
			r.Note("%v", err)
		}
	}
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
		err = f.open()
	}
	return f, err
}

// made returns a description that was made; nil if there is none because all its
// descriptors get something else.
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

// replaced is an object that is not made because something else replaces it.
type replaced struct {
	object.Base
	name string
	note func(format string, args ...any)
}

// Fill discards the data that waited in it, with a note.
func (d *replaced) Fill(rec *stream.Record, _ io.Reader) error {
	if rec.Type != record.TypeContent {
		d.note("%d bytes that waited in %s are lost, because something else takes its place", rec.DataLen, d.name)
	}
	return nil
}

// makeFile opens a description. It is nil if the user wants it closed.
func (r *Restorer) makeFile(rec *stream.Record) (object.Object, error) {
	s, err := decoded[record.File](rec)
	if err != nil {
		return nil, err
	}
	f := &file{r: r}
	if sub := r.replacements.files[s.Objref]; sub != nil {
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
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

// open opens the description.
func (f *file) open() (err error) {
	if l, is := f.inode.(lender); is {
		f.lent = true
		f.f, err = l.lend(int(f.rec.Flags & fileFlags))
		return err
	}
	if n, is := f.inode.(*named); is {
		f.f, err = f.r.openPath(n, f.rec)
		return err
	}
	f.f, err = f.r.keep(f.r.openFile(f.rec))
	return err
}

// openFile opens what a FILE record describes, at its position. O_ASYNC is set
// later, when a task has it.
func (r *Restorer) openFile(s *record.File) (*os.File, error) {
	f, err := r.Open(s.Refs.Inode, int(s.Flags&fileFlags))
	if err != nil {
		return nil, err
	}
	if err := r.seek(s, int(f.Fd()), f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// openPath is openFile where a path leads to it.
func (r *Restorer) openPath(n *named, s *record.File) (*depot.File, error) {
	fd, err := n.openFD(int(s.Flags & fileFlags))
	if errors.Is(err, stream.ErrCorrupt) {
		err = fmt.Errorf("object %d: %w", s.Refs.Inode, err)
	}
	if err != nil {
		return nil, err
	}
	if err := r.seek(s, fd, n.Path); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	n.opened()
	return r.Depot.KeepFD(fd, n.Path)
}

// seek brings what a FILE record describes to its position.
func (r *Restorer) seek(s *record.File, fd int, name string) error {
	pos, err := r.grown(s, fd)
	if err != nil || s.Flags&unix.O_PATH != 0 || pos == 0 {
		return err
	}
	if _, err := unix.Seek(fd, pos, io.SeekStart); err != nil && !errors.Is(err, unix.ESPIPE) {
		return fmt.Errorf("seek to %d in %s: %w", pos, name, err)
	}
	return nil
}

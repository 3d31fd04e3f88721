// Package files saves and restores open files. Each kind has one source file,
// which holds both directions, and one row in Kinds.
//
// An open file is described in three layers, as in the kernel: the descriptor
// (FD), the open file description (FILE), and the object that is open, a record
// of its kind (REG, PIPE, …). Two descriptions may have the same object open:
// both ends of a pipe, or a file opened twice.
package files

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/parallel"
	"ckpt/internal/proc"
	"ckpt/internal/repair"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Subject is something that a process has open or that a link in /proc leads to.
type Subject struct {
	PID    int
	FD     int    // -1 if not reached by a descriptor
	Link   string // /proc/PID/fd/N, /proc/PID/exe, …
	Target string // the text of the link
	Stat   unix.Stat_t
	FUSE   string      // the type of the file system if it is FUSE; Stat is not filled in then
	Info   proc.FDInfo // zero without a descriptor

	placed whereabouts
	socket *sockType        // of a socket that was asked
	getter *tracee.FDGetter // gets a copy of the descriptor
	birth  *int64           // nil if not known yet
	ahead  *pathFacts       // nil if nothing was read ahead
}

// inodeKey is the identity of a file. Numbers alone are not: each tmpfs counts from 2.
type inodeKey struct{ dev, ino uint64 }

func (s *Subject) inode() inodeKey { return inodeKey{s.Stat.Dev, s.Stat.Ino} }

// Find returns the row for a record type, or nil.
func Find(t record.Type) *Kind {
	for i := range Kinds {
		if Kinds[i].Type == t {
			return &Kinds[i]
		}
	}
	return nil
}

// fileFlags are the O_ flags of a FILE record that matter to a restore.
const fileFlags = unix.O_ACCMODE | unix.O_APPEND | unix.O_NONBLOCK | unix.O_DIRECT | unix.O_NOATIME |
	unix.O_SYNC | unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | pidfdThread

// Collector describes open files.
type Collector struct {
	// Emit adds a record to the stream.
	Emit func(t record.Type, meta any) error
	// NewID returns a new number for the record of an object.
	NewID func() uint64
	// Block notes something that stands in the way of a checkpoint.
	Block func(pid int, reason error)
	// Looking is called with each descriptor before it is looked at.
	Looking func(pid, fd int)
	// Guard arranges that, should we die before the function it returns is
	// called, the thread whose descriptors are looked at makes this system
	// call. scratch is written to its memory and passed as the argument
	// ScratchArg; a larger number is the address of a byte further on.
	Guard func(scratch []byte, nr uintptr, args ...uint64) (over func() error, err error)
	// Dry: nothing will be saved.
	Dry bool
	// Keep says that TCP connections to programs outside are to be kept, and how; nil:
	// they are not.
	Keep *Keep

	// Mounts are those of the tree's mount namespace; nil if that is ours.
	Mounts []proc.Mount
	// InTree reports whether a process or thread is in the tree.
	InTree func(id int) bool
	// Travels reports whether the files of a file system, by its device number, are in the
	// stream; nil: those of none are.
	Travels func(dev uint64) bool
	// UsualInTree is InTree for ids of proc.Usual; nil where they are the same.
	UsualInTree func(id int) bool
	// Outsider names the process outside the tree that has a pipe or socket
	// open, given its kind and inode number; "" if none is known.
	Outsider func(kind string, ino uint64) string
	// Outside holds, after Settle, what leads out of the tree, each once.
	Outside []Outside
	// Connections are, after Settle, TCP connections to programs outside.
	Connections []Connection
	// Held tells, after the kill, that packets of kept connections are dropped.
	Held string
	// Lost is, after Settle, what is not saved of descriptors that are.
	Lost []Lost
	// Barred holds, after Settle, what this user can't restore without
	// replacing it.
	Barred []Barred
	// Watched holds the pidfds of processes that are not in the tree.
	Watched []Watched

	savers       []Saver         // one for each of Kinds
	outsideNames map[string]bool // names in Outside
	sent         map[string]bool // contents that will be sent, by identity
	contents     []Sender
	drained      func() error // ends the memory of messages that were read, nil if there is none
	ownMQueues   uint64       // the device of the POSIX message queues, if the tree has an IPC namespace of its own
	paths        map[pathKey]uint64
	mounts       map[uint64]mounts // by mount namespace
	mountsBy     map[int]mounts    // by process
	buildIDs     map[string][]byte
	leases       map[inodeKey]bool // files on which the tree has a lease
	ports        map[int]bool      // that sockets of the tree are bound to
	lingering    []ported          // connections without SO_REUSEADDR
	paired       []ported          // connections of which the tree has both ends
	keeper       *repair.Keeper    // of those that are kept; nil: none is
	root         int               // whose death the keeper waits for
	opened       []opened          // every descriptor of the tree
	// allLeases are the files on which anybody has a lease; nil until needed.
	allLeases map[inodeKey]bool
	getter    tracee.FDGetter // of descriptors of the tree, which stands still
}

// Sender writes bulk records. While byReference reports true, pages of files
// and pipes may be handed on without copying them.
type Sender func(w *stream.Writer, byReference func() bool) error

// ScratchArg stands for the address of what Guard writes. It is not itself an
// address.
const ScratchArg = 1<<63 | 0x6d4a7c4

// subject reads what is known about a link. fd is -1 if the link is not that of
// a descriptor.
func (c *Collector) subject(pid, fd int, link string) (*Subject, error) {
	s := &Subject{PID: pid, FD: fd, Link: link, getter: &c.getter}
	if err := s.read(); err != nil {
		return nil, err
	}
	return s, c.stat(s)
}

// read reads what /proc tells of a subject, without asking its file system.
func (s *Subject) read() (err error) {
	if s.FD < 0 {
		s.Target, err = os.Readlink(s.Link)
		return err
	}
	if s.Info, err = proc.ReadFDInfo(s.PID, s.FD); err != nil {
		return err
	}
	s.Target, err = proc.FDLink(s.PID, s.FD)
	return err
}

// stat fills in what its file system tells, unless that is FUSE.
func (c *Collector) stat(s *Subject) (err error) {
	if s.FUSE, err = c.fuseType(s); err != nil || s.FUSE != "" {
		return err
	}
	if err := s.stat(); err != nil {
		return fmt.Errorf("%s: %w", s.Link, err)
	}
	return nil
}

// Look reads what is known about the descriptors of a stopped thread. All
// descriptors of a tree are looked at before any is described, because the
// description of a pipe depends on whether its other end is in the tree.
func (c *Collector) Look(tid int) ([]*Subject, error) {
	fds, err := proc.FDs(tid)
	if err != nil {
		return nil, err
	}
	subjects := make([]*Subject, len(fds))
	if len(fds) > 0 { // which all CPUs will read then
		if _, err := c.mountsOf(tid); err != nil {
			return nil, err
		}
	}
	err = parallel.EachNamed(len(fds), func(i int) { c.Looking(tid, fds[i]) }, func(i int) error {
		subjects[i] = &Subject{PID: tid, FD: fds[i], Link: proc.Path(tid, fmt.Sprintf("fd/%d", fds[i])), getter: &c.getter}
		if err := subjects[i].read(); err != nil {
			return err
		}
		return c.stat(subjects[i])
	})
	if err != nil {
		return nil, err
	}
	for _, s := range subjects {
		c.noteLeases(s)
		for _, k := range c.kinds() {
			if k.Look != nil {
				k.Look(s)
			}
		}
	}
	return subjects, nil
}

// Collect describes the descriptors of one table; table is the number of its
// FDTABLE record.
func (c *Collector) Collect(table uint64, subjects []*Subject) error {
	c.pathsAhead(subjects)
	for _, k := range c.kinds() {
		if k.Ahead != nil {
			k.Ahead(subjects)
		}
	}
	for _, s := range subjects {
		c.Looking(s.PID, s.FD)
		if err := c.descriptor(table, s); err != nil {
			return err
		}
	}
	return nil
}

// DescribeLink describes what a link leads to, only once, and returns the number of the
// record.
func (c *Collector) DescribeLink(pid int, link string) (uint64, error) {
	s, err := c.subject(pid, -1, link)
	if err != nil {
		return 0, err
	}
	if s.FUSE != "" {
		c.Block(pid, &fuseError{fmt.Sprintf("%s (%s)", filepath.Base(link), s.Target), s.FUSE})
		return 0, nil
	}
	key := pathKey{s.Target, s.Stat.Dev, s.Stat.Ino}
	if id := c.paths[key]; id != 0 {
		return id, nil
	}
	k := c.kind(s)
	if k == nil {
		c.Block(pid, fmt.Errorf("%s leads to %s, which can't be saved", filepath.Base(link), Describe(s)))
		return 0, nil
	}
	id, err := k.Collect(s)
	if c.paths == nil {
		c.paths = map[pathKey]uint64{}
	}
	c.paths[key] = id
	return id, err
}

// pathKey identifies what a link in /proc that is not a descriptor leads to.
type pathKey struct {
	target   string
	dev, ino uint64
}

// kinds returns the Savers of all kinds, made on first use.
func (c *Collector) kinds() []Saver {
	if c.savers == nil {
		for i := range Kinds {
			c.savers = append(c.savers, Kinds[i].Save(c))
		}
	}
	return c.savers
}

// kind returns the Saver for a subject, or nil.
func (c *Collector) kind(s *Subject) *Saver {
	for i := range c.kinds() {
		if c.savers[i].Match(s) {
			return &c.savers[i]
		}
	}
	return nil
}

// Thread lets the kinds of what a process has open look at one of its threads.
func (c *Collector) Thread(subjects []*Subject, t *Thread) error {
	for _, k := range c.kinds() {
		if k.Thread == nil || !slices.ContainsFunc(subjects, k.Match) {
			continue
		}
		if err := k.Thread(t); err != nil {
			return err
		}
	}
	return nil
}

// Settle is called when all processes are collected and still stopped. It
// describes and checks what involves more than one of them.
func (c *Collector) Settle() error {
	for _, k := range c.kinds() {
		if k.Settle == nil {
			continue
		}
		if err := k.Settle(); err != nil {
			return err
		}
	}
	return nil
}

// Close drops what is open to look at the tree.
func (c *Collector) Close() error {
	if c.drained == nil {
		return c.getter.Close()
	}
	return errors.Join(c.getter.Close(), c.drained())
}

// Senders returns, after Settle, the functions that send the data of open files.
func (c *Collector) Senders() []Sender {
	all := c.contents
	for _, k := range c.kinds() {
		if k.Send != nil {
			all = append(all, k.Send()...)
		}
	}
	return all
}

// descriptor emits the object that is open, the open file description, the
// descriptor and its locks.
func (c *Collector) descriptor(table uint64, s *Subject) error {
	if s.FUSE != "" {
		c.BlockFUSE([]*Subject{s})
		return nil
	}
	k := c.kind(s)
	if k == nil {
		c.Block(s.PID, unsavable(s))
		c.opened = append(c.opened, opened{s, 0, 0})
		return nil
	}
	inode, err := k.Collect(s)
	if err != nil {
		return fmt.Errorf("fd %d (%s) of pid %d: %w", s.FD, s.Target, s.PID, err)
	}
	if err := c.dnotify(s); err != nil {
		return err
	}
	c.noteBarred(s)
	file := record.File{
		Object: record.Object{ID: c.NewID(), Genid: Genid(s.Stat.Dev, s.Stat.Ino, s.Info.Pos), Kcmp: &record.Kcmp{TID: s.PID, Idx: uint64(s.FD)}},
		Flags:  s.Info.Flags & fileFlags, Pos: s.Info.Pos, Refs: record.InodeRef{Inode: inode},
	}
	if err := c.readSignalOwner(s, &file); err != nil {
		return err
	}
	if err := c.Emit(record.TypeFile, &file); err != nil {
		return err
	}
	c.opened = append(c.opened, opened{s, file.ID, inode})
	ref := record.FDRefs{Of: table, File: file.ID}
	if err := c.Emit(record.TypeFD, &record.FD{TID: s.PID, FD: s.FD, Cloexec: s.Info.Flags&unix.O_CLOEXEC != 0, Refs: ref}); err != nil {
		return err
	}
	return c.locks(s, ref)
}

// Genid is a cheap key, equal for equal open files: device ^ inode ^ position,
// folded to 32 bits.
func Genid(dev, ino uint64, pos int64) uint32 {
	x := dev ^ ino ^ uint64(pos)
	return uint32(x) ^ uint32(x>>32)
}

// ident is the identity of an inode: two are equal only if the inodes are.
func ident(t record.Type, dev, ino uint64) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(t))
	b = binary.LittleEndian.AppendUint64(b, dev)
	return binary.LittleEndian.AppendUint64(b, ino)
}

func statOf(s *Subject) record.Stat {
	at := s.place()
	birth := s.birth
	if birth == nil {
		ns := birthOf(unix.AT_FDCWD, s.Link)
		birth = &ns
	}
	return record.Stat{Path: s.Target, Mount: at.mount, Host: at.host, Dev: s.Stat.Dev, Ino: s.Stat.Ino, Mode: s.Stat.Mode, UID: s.Stat.Uid, GID: s.Stat.Gid,
		MtimeNS: s.Stat.Mtim.Nano(), BtimeNS: *birth, FH: s.handle()}
}

// isMode reports whether a subject has this file type, and a path.
func isMode(s *Subject, mode uint32) bool {
	return s.Stat.Mode&unix.S_IFMT == mode && filepath.IsAbs(s.Target)
}

// borrow duplicates a subject's descriptor into this process.
func borrow(s *Subject) (*os.File, error) {
	fd, err := borrowFD(s)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), s.Target), nil
}

// borrowFD is borrow for what there may be thousands of: an os.File takes system calls of
// its own.
func borrowFD(s *Subject) (int, error) {
	fd, err := s.getter.Get(s.PID, s.FD)
	if err != nil {
		return -1, fmt.Errorf("copy fd %d of pid %d: %w", s.FD, s.PID, err)
	}
	return fd, nil
}

// pollNow is poll(2) with a timeout of zero. A signal can interrupt even that,
// and the Go runtime sends signals to its threads.
func pollNow(p []unix.PollFd) error {
	for {
		_, err := unix.Poll(p, 0)
		if err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
	}
}

// decode decodes a record.
func decode[T any](rec *stream.Record) (*T, error) {
	v := new(T)
	if err := rec.Decode(v); err != nil {
		return nil, fmt.Errorf("%v record: %w", rec.Type, err)
	}
	return v, nil
}

// decoded is decode for the records of which there may be many, and which several phases
// of a restart ask for. What it returns must stay as it is, like the record.
func decoded[T any](rec *stream.Record) (*T, error) {
	v, err := stream.Decoded[T](rec)
	if err != nil {
		return nil, fmt.Errorf("%v record: %w", rec.Type, err)
	}
	return v, nil
}

// open is open(2). Unlike os.OpenFile it leaves O_NONBLOCK to the caller,
// because the description will be the restored program's.
func open(path string, flags int) (*os.File, error) { return openNamed(path, flags, path) }

// openNamed opens path; messages call the file name.
func openNamed(path string, flags int, name string) (*os.File, error) {
	fd, err := openFD(path, flags, name)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// openFD is openNamed without an os.File.
func openFD(path string, flags int, name string) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: name, Err: err}
		}
		return fd, nil
	}
}

// reopen opens the file behind one of our descriptors again. That goes through a
// link in /proc, so the flags that restrict the path are left out: O_NOFOLLOW,
// and the O_DIRECTORY in O_TMPFILE. They took effect when the program opened it.
func reopen(f *os.File, flags int) (*os.File, error) { return reopenFD(int(f.Fd()), flags, f.Name()) }

func reopenFD(fd, flags int, name string) (*os.File, error) {
	return openNamed(fmt.Sprintf("/proc/self/fd/%d", fd), flags&^(unix.O_NOFOLLOW|unix.O_DIRECTORY), name)
}

// reopenKept is reopen for a file in the depot.
func reopenKept(f *depot.File, flags int) (*os.File, error) {
	fd, err := f.Fd()
	if err != nil {
		return nil, err
	}
	return reopenFD(fd, flags, f.Name())
}

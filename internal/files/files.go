// Package files knows open files. Each kind has one file that holds both
// directions and one row in Kinds.
//
// What is open is described in three layers, as the kernel has them: the
// descriptor (FD), the open file description (FILE), and what that has open, a
// record of the kind (REG, PIPE, …). Two descriptions may have the same thing
// open: both ends of a pipe, a file opened twice.
package files

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/proc"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Subject is something a process has open, or a link of /proc leads to.
type Subject struct {
	PID    int
	FD     int    // -1: not by a descriptor
	Link   string // /proc/PID/fd/N, /proc/PID/exe, …
	Target string // what the link reads
	Stat   unix.Stat_t
	FUSE   string      // the type of file system, if it is FUSE; then Stat is not known
	Info   proc.FDInfo // zero without a descriptor
}

// Find returns the row of a record type, or nil.
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
	unix.O_SYNC | unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW

// Collector describes open files.
type Collector struct {
	// Emit adds a record to the stream.
	Emit func(t record.Type, meta any) error
	// NewID returns a number for an encounter with an object.
	NewID func() uint64
	// Block notes something that stands in the way of a checkpoint.
	Block func(pid int, reason error)
	// Looking is told which descriptor is looked at.
	Looking func(pid, fd int)
	// Guard has the thread whose descriptors are looked at make a system call
	// should we die before the function that it returns was called. scratch is
	// written to its memory and given as the argument ScratchArg.
	Guard func(scratch []byte, nr uintptr, args ...uint64) (over func() error, err error)
	// Dry: nothing will be saved.
	Dry bool

	// InTree reports whether a process or thread is in the tree.
	InTree func(id int) bool
	// Outsider names the process outside of the tree that has a pipe or socket
	// open, by its kind and inode number; "" if none is known.
	Outsider func(kind string, ino uint64) string
	// Outside is, after Settle, what leads out of the tree, each once.
	Outside []Outside
	// Barred is, after Settle, what this user can't restore without a decision.
	Barred []Barred

	savers   []Saver         // of Kinds
	led      map[string]bool // names in Outside
	sent     map[string]bool // contents by identity
	contents []Sender
	paths    map[pathKey]uint64
	mounts   map[string]mounts // by mount namespace
	buildIDs map[string][]byte
	leases   map[inodeKey]bool // files on which the tree has a lease
	opened   []opened          // every descriptor of the tree
	// allLeases are files on which anybody has one, once asked for.
	allLeases map[inodeKey]bool
}

// Sender writes bulk records. While byReference reports true, pages of files
// and pipes may be handed on without copying them.
type Sender func(w *stream.Writer, byReference func() bool) error

// ScratchArg stands for the address of what Guard writes. It is no address.
const ScratchArg = 1<<63 | 0x6d4a7c4

// subject reads what is known of a link. fd is -1 for links that are not of
// a descriptor.
func (c *Collector) subject(pid, fd int, link string) (*Subject, error) {
	s := &Subject{PID: pid, FD: fd, Link: link}
	var err error
	if fd >= 0 {
		if s.Info, err = proc.ReadFDInfo(pid, fd); err != nil {
			return nil, err
		}
		s.Target, err = proc.FDLink(pid, fd)
	} else {
		s.Target, err = os.Readlink(link)
	}
	if err != nil {
		return nil, err
	}
	if s.FUSE, err = c.fuseType(s); err != nil || s.FUSE != "" {
		return s, err
	}
	if err := unix.Stat(link, &s.Stat); err != nil {
		return nil, fmt.Errorf("%s: %w", link, err)
	}
	return s, nil
}

// Look reads what is known of the descriptors of a thread, which stands still.
// All of a tree are looked at before any is described: what a descriptor is
// depends on whether the other end of a pipe is in the tree.
func (c *Collector) Look(tid int) ([]*Subject, error) {
	fds, err := proc.FDs(tid)
	if err != nil {
		return nil, err
	}
	subjects := make([]*Subject, 0, len(fds))
	for _, fd := range fds {
		c.Looking(tid, fd)
		s, err := c.subject(tid, fd, fmt.Sprintf("/proc/%d/fd/%d", tid, fd))
		if err != nil {
			return nil, err
		}
		c.noteLeases(s)
		for _, k := range c.kinds() {
			if k.Look != nil {
				k.Look(s)
			}
		}
		subjects = append(subjects, s)
	}
	return subjects, nil
}

// Collect describes the descriptors of one table, whose FDTABLE record has this
// number.
func (c *Collector) Collect(table uint64, subjects []*Subject) error {
	for _, s := range subjects {
		c.Looking(s.PID, s.FD)
		if err := c.descriptor(table, s); err != nil {
			return err
		}
	}
	return nil
}

// Path describes what a link leads to, once, and returns the number of its
// record.
func (c *Collector) Path(pid int, link string) (uint64, error) {
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

// pathKey is what a link of /proc that is no descriptor leads to.
type pathKey struct {
	target   string
	dev, ino uint64
}

// kinds are the shares of all kinds in the checkpoint.
func (c *Collector) kinds() []Saver {
	if c.savers == nil {
		for i := range Kinds {
			c.savers = append(c.savers, Kinds[i].Save(c))
		}
	}
	return c.savers
}

// kind returns that of a subject, or nil.
func (c *Collector) kind(s *Subject) *Saver {
	for i := range c.kinds() {
		if c.savers[i].Match(s) {
			return &c.savers[i]
		}
	}
	return nil
}

// Settle is called when all processes are collected, and still stand: it
// describes and judges what takes more than one of them.
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

// Senders are, after Settle, what sends the data of what is open.
func (c *Collector) Senders() []Sender {
	all := c.contents
	for _, k := range c.kinds() {
		if k.Send != nil {
			all = append(all, k.Send()...)
		}
	}
	return all
}

// descriptor emits what is open, the description, the descriptor and its locks.
func (c *Collector) descriptor(table uint64, s *Subject) error {
	if s.FUSE != "" {
		c.BlockFUSE([]*Subject{s})
		return nil
	}
	k := c.kind(s)
	if k == nil {
		c.Block(s.PID, fmt.Errorf("fd %d is %s, which can't be saved", s.FD, Describe(s)))
		c.opened = append(c.opened, opened{s, 0})
		return nil
	}
	inode, err := k.Collect(s)
	if err != nil {
		return fmt.Errorf("fd %d (%s) of pid %d: %w", s.FD, s.Target, s.PID, err)
	}
	if err := c.dnotify(s); err != nil {
		return err
	}
	c.mayReopen(s)
	file := record.File{
		Object: record.Object{ID: c.NewID(), Genid: Genid(s.Stat.Dev, s.Stat.Ino, s.Info.Pos), Kcmp: &record.Kcmp{TID: s.PID, Idx: uint64(s.FD)}},
		Flags:  s.Info.Flags & fileFlags, Pos: s.Info.Pos, Refs: record.InodeRef{Inode: inode},
	}
	if err := readOwner(s, &file); err != nil {
		return err
	}
	if err := c.Emit(record.TypeFile, &file); err != nil {
		return err
	}
	c.opened = append(c.opened, opened{s, file.ID})
	ref := record.FDRefs{Of: table, File: file.ID}
	if err := c.Emit(record.TypeFD, &record.FD{TID: s.PID, FD: s.FD, Cloexec: s.Info.Flags&unix.O_CLOEXEC != 0, Refs: ref}); err != nil {
		return err
	}
	return c.locks(s, ref)
}

// Genid is a cheap key that is equal for equal open files: 32 bits of device ^
// inode ^ position.
func Genid(dev, ino uint64, pos int64) uint32 {
	x := dev ^ ino ^ uint64(pos)
	return uint32(x) ^ uint32(x>>32)
}

// ident is the identity of an inode: equal exactly for equal ones.
func ident(t record.Type, dev, ino uint64) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(t))
	b = binary.LittleEndian.AppendUint64(b, dev)
	return binary.LittleEndian.AppendUint64(b, ino)
}

func statOf(s *Subject) record.Stat {
	return record.Stat{Path: s.Target, Dev: s.Stat.Dev, Ino: s.Stat.Ino, Mode: s.Stat.Mode, UID: s.Stat.Uid, GID: s.Stat.Gid,
		MtimeNS: s.Stat.Mtim.Nano(), BtimeNS: birthOf(unix.AT_FDCWD, s.Link), FH: handleAt(unix.AT_FDCWD, s.Link, unix.AT_SYMLINK_FOLLOW)}
}

// isMode reports whether a subject has a file type and a path.
func isMode(s *Subject, mode uint32) bool {
	return s.Stat.Mode&unix.S_IFMT == mode && filepath.IsAbs(s.Target)
}

// borrow copies a subject's descriptor.
func borrow(s *Subject) (*os.File, error) {
	fd, err := tracee.GetFD(s.PID, s.FD)
	if err != nil {
		return nil, fmt.Errorf("copy fd %d of pid %d: %w", s.FD, s.PID, err)
	}
	return os.NewFile(uintptr(fd), s.Target), nil
}

// glance is poll(2) without waiting. Even so a signal can come first, and the Go
// runtime sends its threads some.
func glance(p []unix.PollFd) error {
	for {
		_, err := unix.Poll(p, 0)
		if err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
	}
}

// decode returns the Go value of a record.
func decode[T any](rec *stream.Record) (*T, error) {
	v := new(T)
	if err := rec.Decode(v); err != nil {
		return nil, fmt.Errorf("%v record: %w", rec.Type, err)
	}
	return v, nil
}

// open is open(2). Unlike os.OpenFile it leaves O_NONBLOCK to the caller, for
// what is opened here will be somebody else's.
func open(path string, flags int) (*os.File, error) { return openNamed(path, flags, path) }

// openNamed is open of what is to be called by another name than the way to it.
func openNamed(path string, flags int, name string) (*os.File, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}

// reopen opens what one of our descriptors has open anew. The way there is a
// link, and flags that forbid or presume something of the way have had their
// say when the program opened it: O_NOFOLLOW, and the O_DIRECTORY in O_TMPFILE.
func reopen(f *os.File, flags int) (*os.File, error) { return reopenFD(int(f.Fd()), flags, f.Name()) }

func reopenFD(fd, flags int, name string) (*os.File, error) {
	return openNamed(fmt.Sprintf("/proc/self/fd/%d", fd), flags&^(unix.O_NOFOLLOW|unix.O_DIRECTORY), name)
}

// reopenKept is reopen of what is in the depot.
func reopenKept(f *depot.File, flags int) (*os.File, error) {
	fd, err := f.Fd()
	if err != nil {
		return nil, err
	}
	return reopenFD(fd, flags, f.Name())
}

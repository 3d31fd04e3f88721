package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Descriptors in flight (SCM_RIGHTS) are in no task's table. Looking at the message gives
// us one of each, by which it is described and told apart like any other. We keep it open:
// whoever compares it with others needs it.

// errNested: a socket that is itself in flight has more in it than one look shows.
var errNested = errors.New("more than one look shows")

// errBorders: bytes wait before descriptors in flight.
var errBorders = errors.New("the kernel does not show where they begin")

// errDeep: sockets in flight have others in flight in them, and these again.
var errDeep = errors.New("more in one another than can be looked at")

// maxDeep is how many sockets may be in flight in one another. Each takes some milliseconds,
// while the tree stands still.
const maxDeep = 64

// borders makes sure that descriptors in flight in a stream came with the first of the
// bytes that they were seen with: the kernel shows what was sent before together with
// them. How often something was sent follows from the memory that it takes.
func (p *peeker) borders(d *sys.UnixSocket, table *sys.UnixTable) error {
	if !p.stream || len(p.rights) == 0 {
		return nil
	}
	sent, rest := []int64{}, int64(len(p.data))
	for i, r := range p.rights {
		if i == 0 && r.at > 0 || i > 0 && r.at != p.rights[i-1].at+p.rights[i-1].n {
			return errBorders
		}
		sent, rest = append(sent, r.n), rest-r.n
	}
	if rest > 0 {
		sent = append(sent, rest)
	}
	other, err := table.Query(d.Peer)
	if errors.Is(err, unix.ENOENT) || err == nil && other.Peer != d.Ino {
		return errBorders
	}
	if err != nil {
		return err
	}
	scale, err := newScale(d.Type)
	if err != nil {
		return err
	}
	defer scale.close()
	takes := int64(0)
	for _, n := range sent {
		w, err := scale.weigh(int(n))
		if err != nil {
			return err
		}
		takes += w
	}
	if takes != int64(other.SendMem) {
		return errBorders
	}
	return nil
}

// flight is a socket with descriptors in flight.
type flight struct {
	id     uint64
	owner  *Subject // of the tree: it may be in flight in this one
	rights []rights
	deep   int // how many sockets in flight it is in
}

// mayFly reports whether something can be saved that is only in flight: it is opened at once when it
// is restored, and no task of its own is behind it.
func mayFly(s *Subject) bool {
	if len(s.Info.Locks) > 0 || strings.HasPrefix(s.Target, "/proc/") {
		return false
	}
	if s.Info.Flags&unix.O_PATH != 0 {
		return filepath.IsAbs(s.Target)
	}
	switch s.Stat.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFIFO:
		return true
	case unix.S_IFCHR:
		return unix.Major(s.Stat.Rdev) == memMajor
	case unix.S_IFSOCK:
		return isUnixSock(s) || isInetSock(s) || isNetlink(s)
	}
	return isAnon(s, "[eventfd]") || isAnon(s, "[signalfd]")
}

// lookInFlight lets all kinds look at what is in flight with the first message, before
// any is described: ends of pipes and sockets of the tree may be there only.
func (u *unixSocks) lookInFlight(s *Subject) {
	f, err := borrow(s)
	if err != nil {
		return
	}
	defer f.Close()
	fd := int(f.Fd())
	off, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF)
	if err != nil || off >= 0 || u.deep > maxDeep { // looking would move it; or it will be blocked
		return
	}
	u.deep++
	defer func() { u.deep-- }()
	if n, err := unix.IoctlGetInt(fd, unix.TIOCINQ); err != nil || n == 0 {
		return // an empty message is shown only once
	}
	control := make([]byte, controlBytes)
	_, cn, _, _, err := sys.RecvUnix(fd, make([]byte, maxFirstBytes), control, unix.MSG_PEEK|unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return
	}
	fds := received(control[:cn])
	defer closeAll(fds)
	for _, n := range fds {
		in, err := u.c.subject(os.Getpid(), n, fmt.Sprintf("/proc/self/fd/%d", n))
		if err != nil || in.FUSE != "" {
			continue
		}
		for _, k := range u.c.savers {
			if k.Look != nil {
				k.Look(in)
			}
		}
	}
}

// maxFirstBytes is how far lookInFlight looks.
const maxFirstBytes = 1 << 20

// inFlight describes what is in flight in a socket.
func (u *unixSocks) inFlight(f *flight) error {
	block, outside := u.c.Block, len(u.c.Outside)
	now := 0
	u.deep, u.outer = f.deep+1, f.owner
	u.c.Block = func(_ int, reason error) {
		block(f.owner.PID, &notInFlight{f.owner, now, reason})
	}
	defer func() { u.c.Block, u.deep, u.outer = block, 0, nil }()
	for _, r := range f.rights {
		for _, now = range r.fds {
			fd := now
			file, err := u.flier(fd)
			if err != nil {
				return err
			}
			if len(u.c.Outside) > outside {
				u.c.Block(0, fmt.Errorf("fd %d is %s, which leads out of the tree and can't be saved in flight", fd, u.c.Outside[outside].Name))
				u.c.Outside = u.c.Outside[:outside]
			}
			if file == 0 {
				continue
			}
			if err := u.c.Emit(record.TypeSockRights, &record.SockRights{At: r.at, Len: r.n, Refs: record.SockRightsRefs{Socket: f.id, File: file}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// notInFlight is why a descriptor in flight can't be saved, said of the socket that it is
// in: fd is a number of ours, which nobody knows.
type notInFlight struct {
	owner  *Subject
	fd     int
	reason error
}

func (n *notInFlight) Error() string {
	what := strings.TrimPrefix(n.reason.Error(), fmt.Sprintf("fd %d is ", n.fd))
	return fmt.Sprintf("fd %d is %s with a descriptor in flight (SCM_RIGHTS): %s", n.owner.FD, Describe(n.owner), what)
}

func (n *notInFlight) Unwrap() error { return n.reason }

// Passes says that it is not in flight any more as soon as the program has received it.
func (n *notInFlight) Passes() bool { return true }

// flier describes a descriptor in flight; 0: it is blocked.
func (u *unixSocks) flier(fd int) (file uint64, err error) {
	c := u.c
	s, err := c.subject(os.Getpid(), fd, fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return 0, err
	}
	if same, err := u.openToo(s); same != nil || err != nil {
		return same.number(), err
	}
	for _, k := range c.savers {
		if s.FUSE != "" || !mayFly(s) || !k.Match(s) {
			continue
		}
		if k.Ahead != nil {
			k.Ahead([]*Subject{s})
		}
		inode, err := k.Collect(s)
		if err != nil || inode == 0 {
			return 0, err
		}
		desc := record.File{
			Object: record.Object{ID: c.NewID(), Genid: Genid(s.Stat.Dev, s.Stat.Ino, s.Info.Pos), Kcmp: &record.Kcmp{TID: s.PID, Idx: uint64(s.FD)}},
			Flags:  s.Info.Flags & fileFlags, Pos: s.Info.Pos, Refs: record.InodeRef{Inode: inode},
		}
		if err := c.readSignalOwner(s, &desc); err != nil {
			return 0, err
		}
		c.opened = append(c.opened, opened{s, desc.ID, inode}) // an epoll may watch it
		return desc.ID, c.Emit(record.TypeFile, &desc)
	}
	what, why := Describe(s), ""
	if len(s.Info.Locks) > 0 {
		what, why = s.Target, " with a lock on it"
	}
	c.Block(0, fmt.Errorf("fd %d is %s, which can't be saved in flight%s", fd, what, why))
	return 0, nil
}

// openToo returns the descriptor of the tree that has the same open as one in flight that can't
// be saved for itself: whatever it is, it is saved with that.
func (u *unixSocks) openToo(s *Subject) (*opened, error) {
	if s.FUSE != "" || mayFly(s) || strings.HasPrefix(s.Target, "/proc/") || isPidFD(s) { // those are opened only when the tasks are there
		return nil, nil
	}
	return u.same.find(u.c.opened, s)
}

// number is that of the record of the open file description; 0 if it is blocked.
func (o *opened) number() uint64 {
	if o == nil {
		return 0
	}
	return o.file
}

// addRights gives a descriptor in flight to its socket.
func (m *sockMaker) addRights(rec *stream.Record) error {
	r, err := decode[record.SockRights](rec)
	if err != nil {
		return err
	}
	obj, err := m.Hash.Get(r.Refs.Socket, record.TypeUnixSock)
	if err != nil {
		return err
	}
	u, ok := obj.(*unixSock)
	if !ok {
		return nil // something else takes the socket's place
	}
	u.rights = append(u.rights, r)
	return nil
}

func judgeSockRights(r *record.SockRights) error {
	if r.At < 0 || r.Len < 0 || r.At > maxSockBytes || r.Len > maxSockBytes {
		return fmt.Errorf("%w: a descriptor in flight with %d bytes from %d on", stream.ErrCorrupt, r.Len, r.At)
	}
	return nil
}

// maxRights is SCM_MAX_FD of include/net/scm.h.
const maxRights = 253

// withRights splits what was kept so that each letter has the descriptors it is sent with.
func (u *unixSock) withRights() error {
	bad := func(why string) error {
		return fmt.Errorf("%w: descriptors in flight %s, in unix socket %d", stream.ErrCorrupt, why, u.rec.Ino)
	}
	var split []letter
	todo, at := u.rights, int64(0) // at is where the letter's bytes begin in the stream
	for i, l := range u.letters {
		if u.rec.Kind != unix.SOCK_STREAM {
			if len(todo) > 0 && todo[0].At == int64(i) {
				l.files = takeRights(&todo)
			}
			split = append(split, l)
			continue
		}
		for len(todo) > 0 && todo[0].At < at+int64(len(l.data)) {
			skip, n := todo[0].At-at, todo[0].Len
			if skip < 0 || n <= 0 || skip+n > int64(len(l.data)) {
				return bad(fmt.Sprintf("with %d bytes from %d on", n, todo[0].At))
			}
			split = appendPart(split, l, l.data[:skip], nil)
			split = appendPart(split, l, l.data[skip:skip+n], takeRights(&todo))
			l.data, at = l.data[skip+n:], at+skip+n
		}
		split, at = appendPart(split, l, l.data, nil), at+int64(len(l.data))
	}
	if len(todo) > 0 {
		return bad("with nothing")
	}
	if slices.ContainsFunc(split, func(l letter) bool { return len(l.files) > maxRights }) {
		return bad("too many with one message")
	}
	u.letters, u.rights = split, nil
	return nil
}

// takeRights takes the descriptors that are in flight with the same as the first.
func takeRights(todo *[]*record.SockRights) (files []uint64) {
	first := (*todo)[0]
	for len(*todo) > 0 && (*todo)[0].At == first.At && (*todo)[0].Len == first.Len {
		files = append(files, (*todo)[0].Refs.File)
		*todo = (*todo)[1:]
	}
	return files
}

// appendPart appends a part of a letter, if there is anything in it.
func appendPart(split []letter, l letter, data []byte, files []uint64) []letter {
	if len(data) == 0 {
		return split
	}
	l.data, l.files = data, files
	return append(split, l)
}

// rightsOf returns the control message with a letter's descriptors.
func (m *sockMaker) rightsOf(l *letter) (control []byte, done func(), err error) {
	var fds []int
	done = func() { closeAll(fds) }
	for _, objref := range l.files {
		if m.made(objref) == nil {
			m.Note("a descriptor in flight in a unix socket is left out, because all that had the same open get something else or nothing")
			continue
		}
		f, err := m.file(objref)
		if err != nil {
			return nil, done, err
		}
		n, err := f.f.Fd()
		if err == nil {
			n, err = unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 3)
		}
		if err != nil {
			return nil, done, err
		}
		fds = append(fds, n)
	}
	if len(fds) == 0 {
		return nil, done, nil
	}
	return unix.UnixRights(fds...), done, nil
}

package files

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/object"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// sockMaker makes the unix sockets of a restart, all at once when the first is asked
// for: a connection needs the socket that has accepted it, whichever comes first.
type sockMaker struct {
	*Restorer
	recs      []*record.UnixSock // in the order of the stream
	byIno     map[uint64]*record.UnixSock
	socks     map[uint64]*unixSock // by inode number
	free      map[string]bool      // names that nobody had when they were checked
	built     bool
	delivered bool
	listeners []*listener
	placed    []*unixSock                   // those that have a place
	named     map[sockName]*record.UnixSock // those that listen, and datagram sockets, by the name they are bound to
	standIns  map[sockName]*listener        // listeners without a record
	to        map[uint64][]*record.UnixSock // datagram sockets that are connected to another, by its inode number
	folders   map[inodeKey]*sockFolder      // in which sockets have their files
	temp      *sockFolder                   // for those whose files are gone
	bound     boundFiles
	// untold: what is being made has an other end that is to be gone, so nobody need be told
	// if it does not name the process that it named.
	untold bool
}

// sockName is what a socket is found by.
type sockName struct {
	kind int
	name string
}

func newSockMaker(r *Restorer) *sockMaker {
	return &sockMaker{Restorer: r, byIno: map[uint64]*record.UnixSock{}, socks: map[uint64]*unixSock{}, folders: map[inodeKey]*sockFolder{},
		named: map[sockName]*record.UnixSock{}, standIns: map[sockName]*listener{}, to: map[uint64][]*record.UnixSock{}, free: map[string]bool{}}
}

// check also notes the record.
func (m *sockMaker) check(rec *stream.Record) []error {
	if rec.Type == record.TypeSockRights {
		r, err := decode[record.SockRights](rec)
		if err == nil {
			err = judgeSockRights(r)
		}
		if err != nil {
			return []error{err}
		}
		return nil
	}
	s, err := decode[record.UnixSock](rec)
	if err == nil {
		err = judgeUnixSock(s)
	}
	if err == nil {
		err = m.note(s)
	}
	if err == nil && !m.Paper && len(s.Name) > 0 {
		switch {
		case s.Name[0] == 0 && !m.free[string(s.Name)]:
			err = checkAbstract(s)
			m.free[string(s.Name)] = err == nil
		case s.File != nil && !s.File.Deleted:
			err = m.checkPlace(s)
		}
	}
	if err == nil && !m.Paper {
		err = m.checkAnew(s)
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

func (m *sockMaker) note(s *record.UnixSock) error {
	if m.byIno[s.Ino] != nil {
		return fmt.Errorf("%w: unix socket %d occurs twice", stream.ErrCorrupt, s.Ino)
	}
	m.byIno[s.Ino] = s
	m.recs = append(m.recs, s)
	if key := (sockName{s.Kind, string(s.Name)}); (s.Listen != nil || s.Kind == unix.SOCK_DGRAM && len(s.Name) > 0) && m.named[key] == nil {
		m.named[key] = s
	}
	if s.Kind == unix.SOCK_DGRAM && s.Peer != 0 {
		m.to[s.Peer] = append(m.to[s.Peer], s)
	}
	return nil
}

// make returns the socket of a record.
func (m *sockMaker) make(rec *stream.Record) (object.Object, error) {
	s, err := decode[record.UnixSock](rec)
	if err != nil {
		return nil, err
	}
	if !m.built {
		m.built = true
		if err := m.build(); err != nil {
			return nil, errors.Join(err, m.undo(), m.clear())
		}
	}
	u := m.socks[s.Ino]
	if u == nil || u.rec.Objref != s.Objref {
		return nil, fmt.Errorf("%w: unix socket %d", stream.ErrCorrupt, s.Ino)
	}
	return u, nil
}

// build makes all sockets and connects them.
func (m *sockMaker) build() error {
	for _, s := range m.recs {
		if err := m.ensure(s); err != nil {
			return err
		}
	}
	for _, l := range m.listeners {
		if err := m.finishListener(l); err != nil {
			return err
		}
	}
	for _, s := range m.recs {
		if m.anew(s) != nil && s.Kind != unix.SOCK_DGRAM {
			if err := m.connectAnew(m.socks[s.Ino]); err != nil {
				return err
			}
		}
		f, err := m.socks[s.Ino].f.Dup()
		if err == nil {
			err = errors.Join(m.chown(f, s.UID, s.GID, fmt.Sprintf("socket:[%d]", s.Ino)), f.Close())
		}
		if err != nil {
			return fmt.Errorf("owner of a unix socket: %w", err)
		}
	}
	return nil
}

// ensure makes a socket if there is none yet, and what it takes for that.
func (m *sockMaker) ensure(s *record.UnixSock) error {
	if m.socks[s.Ino] != nil {
		return nil
	}
	defer func(was bool) { m.untold = was }(m.untold)
	m.untold = m.closes(s)
	peer := m.byIno[s.Peer]
	mutual := peer != nil && peer.Peer == s.Ino && peer.Kind == s.Kind
	switch {
	case m.anew(s) != nil:
		_, err := m.alone(s)
		return err
	case s.Kind == unix.SOCK_DGRAM && (s.Maker == nil || s.Peer != 0 && !s.Outside && !mutual):
		if s.Peer != 0 && !s.Outside && (peer == nil || len(peer.Name) == 0 || peer.Kind != s.Kind) {
			return notConnected(s)
		}
		_, err := m.alone(s)
		return err
	case s.Orphan || s.Outside:
		return m.connected(s, nil)
	case s.Peer == 0:
		_, err := m.alone(s)
		return err
	case !mutual:
		return notConnected(s)
	}
	return m.connected(s, peer)
}

func notConnected(s *record.UnixSock) error {
	return fmt.Errorf("%w: the other end (%[3]d) of unix socket %[2]d is not in the image, or not connected to it", stream.ErrCorrupt, s.Ino, s.Peer)
}

// alone makes a socket that is not connected to anything.
func (m *sockMaker) alone(s *record.UnixSock) (*unixSock, error) {
	fd, err := unix.Socket(unix.AF_UNIX, s.Kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make a unix socket: %w", err)
	}
	u, err := m.keep(s, fd)
	if err != nil {
		return nil, err
	}
	if s.Listen != nil {
		u.listener = &listener{f: u.f, sock: u, backlog: int(min(s.Listen.Backlog, 1<<31-1))}
		m.listeners = append(m.listeners, u.listener)
	}
	return u, u.bind()
}

// keep takes over a socket that was made for a record.
func (m *sockMaker) keep(s *record.UnixSock, fd int) (*unixSock, error) {
	f, err := m.Depot.Keep(os.NewFile(uintptr(fd), "a unix socket"))
	u := &unixSock{rec: s, m: m}
	u.f = f
	m.socks[s.Ino] = u
	return u, err
}

// keepOther takes over a socket at the other end of one in the image.
func (m *sockMaker) keepOther(u *unixSock, fd int) (err error) {
	u.closed = true
	u.other, err = m.Depot.Keep(os.NewFile(uintptr(fd), "the other end of a unix socket"))
	return err
}

// connected makes a socket and the other end, which may have no record: a pair, unless
// one of them was accepted.
func (m *sockMaker) connected(s, peer *record.UnixSock) error {
	switch {
	case s.Kind == unix.SOCK_DGRAM:
	case peer != nil && s.Accepted && peer.Accepted:
		return notConnected(s)
	case s.Accepted:
		return m.accept(s, peer)
	case peer != nil && peer.Accepted:
		return m.accept(peer, s)
	case peer == nil && len(s.PeerName) > 0:
		err := m.connectGone(s)
		if !errors.Is(err, unix.EADDRINUSE) && !errors.Is(err, unix.EPERM) {
			return err
		}
		m.Note("%s was connected to the unix socket %s; it no longer tells that name, which is in use or takes CAP_SYS_CHROOT", fmt.Sprintf("socket:[%d]", s.Ino), nameText(s.PeerName))
	}
	fds, err := m.pair(s)
	if err != nil {
		return fmt.Errorf("make a pair of unix sockets: %w", err)
	}
	err = m.join(s, fds[0], peer, fds[1])
	if err == nil && peer == nil && len(s.PeerName) > 0 && s.Kind == unix.SOCK_DGRAM {
		_, err = m.bindTemp(fds[1], s.PeerName)
	}
	return err
}

// join takes over both ends of a connection.
func (m *sockMaker) join(a *record.UnixSock, afd int, b *record.UnixSock, bfd int) error {
	ua, err := m.keep(a, afd)
	if b == nil {
		return errors.Join(err, m.keepOther(ua, bfd), ua.bind())
	}
	ub, berr := m.keep(b, bfd)
	if err := errors.Join(err, berr); err != nil {
		return err
	}
	ua.other, ub.other, ua.peer, ub.peer = ub.f, ua.f, ub, ua
	return errors.Join(ua.bind(), ub.bind())
}

func (m *sockMaker) pair(s *record.UnixSock) ([2]int, error) {
	if m.Pair == nil {
		return unix.Socketpair(unix.AF_UNIX, s.Kind|unix.SOCK_CLOEXEC, 0)
	}
	return m.Pair(s.Kind, s.Maker, m.untold)
}

// bind gives a socket its own name.
func (u *unixSock) bind() (err error) {
	s, m := u.rec, u.m
	if len(s.Name) == 0 || s.Accepted {
		return nil
	}
	fd, err := u.f.Fd()
	if err != nil {
		return err
	}
	if s.Name[0] == 0 || s.File.Deleted {
		u.path, err = m.bindTemp(fd, s.Name)
		return bindError(s.Name, err)
	}
	folder, file := m.sockPlace(s)
	var in *sockFolder
	err = folder.with(0, func(p int, st *unix.Stat_t) error {
		var id *sys.FSIdentity
		if !folder.isSame(p, st) || folder.Follow {
			id = m.Users[s.Objref].identity()
		}
		in, err = m.folder(p, folder.Path, st, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("unix socket %s: %w", nameText(s.Name), err)
	}
	staged, f, err := in.bind(fd, s.Name)
	if err != nil {
		return bindError(s.Name, err)
	}
	m.placed = append(m.placed, u)
	u.place = &place{m: m, in: in, staged: staged, old: file, base: lastOf(file.Path)}
	if err := unix.Fstat(int(f.Fd()), &u.place.st); err != nil {
		return errors.Join(os.NewSyscallError("fstat", err), f.Close())
	}
	u.path, err = m.Depot.Keep(f)
	return err
}

func lastOf(path string) string { return path[bytes.LastIndexByte([]byte(path), '/')+1:] }

// folder returns the private folder in a folder.
func (m *sockMaker) folder(p int, path string, st *unix.Stat_t, id *sys.FSIdentity) (*sockFolder, error) {
	key := inodeKey{st.Dev, st.Ino}
	if f := m.folders[key]; f != nil {
		return f, nil
	}
	n, err := unix.FcntlInt(uintptr(p), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	f, err := newSockFolder(os.NewFile(uintptr(n), path), id)
	if err != nil {
		return nil, errors.Join(err, unix.Close(n))
	}
	m.folders[key] = f
	return f, nil
}

// bindTemp binds a socket to a name whose file, if it has one, is removed at once. It
// returns that file.
func (m *sockMaker) bindTemp(fd int, name []byte) (*depot.File, error) {
	if name[0] == 0 {
		return nil, sys.BindUnix(fd, name)
	}
	if m.temp == nil {
		dir, err := walk(os.TempDir(), unix.O_PATH|unix.O_DIRECTORY, true)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: os.TempDir(), Err: err}
		}
		if m.temp, err = newSockFolder(dir, nil); err != nil {
			m.temp = nil
			return nil, errors.Join(err, dir.Close())
		}
	}
	staged, f, err := m.temp.bind(fd, name)
	if err != nil {
		return nil, err
	}
	if err := m.temp.remove(staged); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return m.Depot.Keep(f)
}

// undo takes back what was put in its place.
func (m *sockMaker) undo() error {
	var errs []error
	for _, u := range m.placed {
		errs = append(errs, u.place.undo())
	}
	return errors.Join(errs...)
}

// clear removes all private folders.
func (m *sockMaker) clear() error {
	var errs []error
	for _, u := range m.placed {
		errs = append(errs, u.place.clear())
		u.place = nil
	}
	m.placed = nil
	for _, f := range m.folders {
		errs = append(errs, f.close())
	}
	clear(m.folders)
	if m.temp != nil {
		errs = append(errs, m.temp.close())
		m.temp = nil
	}
	return errors.Join(errs...)
}

package files

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// SockCall is listen(2) or connect(2) on a unix socket, with the id and credentials
// that SO_PEERCRED is to tell at the other end.
type SockCall struct {
	FD      int
	Listen  bool
	Backlog int    // of listen
	Name    []byte // what to connect to, unless that is Via
	Via     int    // a descriptor (O_PATH) of the file to connect to, or -1
	Untold  bool   // nobody need be told if it is not that process which makes it
}

// ViaName is what a process connects to that has Via as this descriptor.
func ViaName(fd int) []byte { return fmt.Appendf(nil, "/proc/self/fd/%d", fd) }

// Do makes the call.
func (c *SockCall) Do() error {
	switch {
	case c.Listen:
		return os.NewSyscallError("listen", unix.Listen(c.FD, c.Backlog))
	case c.Via >= 0:
		return os.NewSyscallError("connect", sys.ConnectUnix(c.FD, ViaName(c.Via)))
	}
	return os.NewSyscallError("connect", sys.ConnectUnix(c.FD, c.Name))
}

func (m *sockMaker) sockCall(by *record.PeerCred, c *SockCall) error {
	if m.Call == nil {
		return c.Do()
	}
	c.Untold = m.untold
	return m.Call(by, c)
}

// listener is a socket that listens, or one that stands for it.
type listener struct {
	f       *depot.File
	path    *depot.File // its file
	sock    *unixSock   // nil for one that is closed in the end
	name    []byte      // of one that is closed in the end
	backlog int         // in the end
	// How it listens now, and who made it do so last.
	listens bool
	room    int
	by      *record.PeerCred
}

// address returns where to connect to it.
func (l *listener) address(c *SockCall) (err error) {
	path := l.path
	c.Via, c.Name = -1, l.name
	if l.sock != nil {
		path, c.Name = l.sock.path, l.sock.rec.Name
	}
	if path != nil {
		c.Via, err = path.Fd()
	}
	return err
}

// listen makes it listen, which tells its clients who did that.
func (m *sockMaker) listen(l *listener, by *record.PeerCred, backlog int) error {
	if l.listens && samePeerCred(l.by, by) && backlog == l.room {
		return nil
	}
	fd, err := l.f.Fd()
	if err != nil {
		return err
	}
	l.listens, l.by, l.room = true, by, backlog
	return m.sockCall(by, &SockCall{FD: fd, Listen: true, Backlog: backlog, Via: -1})
}

func samePeerCred(a, b *record.PeerCred) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.PID == b.PID && a.UID == b.UID && a.GID == b.GID && slices.Equal(a.Groups, b.Groups)
}

// listenerOf returns the socket of the image that has a name and listens, or else makes
// one.
func (m *sockMaker) listenerOf(name []byte, kind int) (*listener, error) {
	key := sockName{kind, string(name)}
	if s := m.named[key]; s != nil {
		if err := m.ensure(s); err != nil {
			return nil, err
		}
		return m.socks[s.Ino].listener, nil
	}
	if l := m.standIns[key]; l != nil {
		return l, nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make a unix socket: %w", err)
	}
	l := &listener{name: name}
	if l.f, err = m.Depot.Keep(os.NewFile(uintptr(fd), "a unix socket that listens")); err != nil {
		return nil, err
	}
	if l.path, err = m.bindTemp(fd, name); err != nil {
		return nil, errors.Join(err, l.f.Close())
	}
	m.listeners = append(m.listeners, l)
	m.standIns[key] = l
	return l, nil
}

// accept makes a connection: of a socket that was accepted, and its client, which may
// have no record.
func (m *sockMaker) accept(s, client *record.UnixSock) error {
	if len(s.Name) == 0 {
		return notConnected(s)
	}
	var listened *record.PeerCred
	if client != nil {
		listened = client.Maker
	}
	cfd, afd, err := m.connection(s.Name, s.Kind, listened, s.Maker)
	if errors.Is(err, unix.EADDRINUSE) {
		return bindError(s.Name, err)
	}
	if err != nil {
		return err
	}
	return m.join(s, afd, client, cfd)
}

// connectGone makes the client of a connection whose other end is gone, or not in the
// image.
func (m *sockMaker) connectGone(s *record.UnixSock) error {
	cfd, afd, err := m.connection(s.PeerName, s.Kind, s.Maker, nil)
	if err != nil {
		return err
	}
	return m.join(s, cfd, nil, afd)
}

// connection makes a connection by way of a socket with this name.
func (m *sockMaker) connection(name []byte, kind int, listened, connected *record.PeerCred) (client, accepted int, err error) {
	l, err := m.listenerOf(name, kind)
	if err == nil {
		err = m.listen(l, listened, 1)
	}
	if err != nil {
		return -1, -1, err
	}
	if client, err = unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return -1, -1, fmt.Errorf("make a unix socket: %w", err)
	}
	if err = m.connect(l, client, connected); err == nil {
		accepted, err = m.takeFrom(l, client)
	}
	if err != nil {
		return -1, -1, errors.Join(fmt.Errorf("connect a unix socket to %s: %w", nameText(name), err), unix.Close(client))
	}
	return client, accepted, nil
}

func (m *sockMaker) connect(l *listener, client int, by *record.PeerCred) error {
	c := &SockCall{FD: client}
	if err := l.address(c); err != nil {
		return err
	}
	return m.sockCall(by, c)
}

// takeFrom accepts a client's connection. Anybody can connect to a name that is not of
// the file system; such connections are closed.
func (m *sockMaker) takeFrom(l *listener, client int) (int, error) {
	fd, err := l.f.Fd()
	if err != nil {
		return -1, err
	}
	for {
		n, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, os.NewSyscallError("accept", err)
		}
		if l.path != nil || l.sock != nil && l.sock.path != nil {
			return n, nil
		}
		if is, err := isOtherEnd(n, client); is && err == nil {
			return n, nil
		} else if err := errors.Join(err, unix.Close(n)); err != nil {
			return -1, err
		}
	}
}

func isOtherEnd(a, b int) (bool, error) {
	var ast, bst unix.Stat_t
	if err := errors.Join(unix.Fstat(a, &ast), unix.Fstat(b, &bst)); err != nil {
		return false, os.NewSyscallError("fstat", err)
	}
	d, err := sys.QueryUnix(ast.Ino)
	return err == nil && d.Peer == bst.Ino, err
}

// finishListener closes a socket that only stood for another. One of the image gets the
// connections that wait, and listens as it did.
func (m *sockMaker) finishListener(l *listener) error {
	if l.sock == nil {
		return errors.Join(l.f.Close(), l.path.Close())
	}
	s := l.sock.rec
	for _, ino := range s.Listen.Waiting {
		client := m.byIno[ino]
		if client == nil || client.Peer != 0 || client.Orphan || client.Outside || client.Listen != nil || client.Kind != s.Kind {
			return fmt.Errorf("%w: unix socket %d waits to be accepted by %d", stream.ErrCorrupt, ino, s.Ino)
		}
		if err := m.listen(l, client.Maker, len(s.Listen.Waiting)); err != nil {
			return err
		}
		fd, err := m.socks[ino].f.Fd()
		if err != nil {
			return err
		}
		if err := m.connect(l, fd, m.userOf(client)); err != nil {
			return fmt.Errorf("connect a unix socket to %s: %w", nameText(s.Name), err)
		}
	}
	return m.listen(l, s.Maker, l.backlog)
}

// userOf returns who has a socket open, for one that does not tell who made it.
func (r *Restorer) userOf(s *record.UnixSock) *record.PeerCred {
	u := r.Users[s.Objref]
	if u == nil {
		return nil
	}
	return &record.PeerCred{PID: u.PID, UID: u.Creds.UID[1], GID: u.Creds.GID[1], Groups: u.Creds.Groups}
}

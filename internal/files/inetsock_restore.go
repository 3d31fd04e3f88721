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
	"ckpt/internal/nft"
	"ckpt/internal/object"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// inetMaker makes the sockets of IP of a restart.
type inetMaker struct {
	*Restorer
	open []*inetSock // those whose Commit is still to come
	all  []*inetSock
	// alone are ends whose other end's record is still to come, by its inode number
	alone     map[uint64]*inetSock
	listeners map[int]*depot.File // by domain, see listener
	kept      kept
}

// inetSock is a restored socket.
type inetSock struct {
	single
	m     *inetMaker
	rec   *record.InetSock
	other *depot.File // the other end of a connection, as long as that is needed
	peer  *inetSock   // that, if it has a record
	kept  int64       // bytes that Fill wrote through it
	// Of a connection that goes on: how many bytes of SOCKSENT have come, and those of
	// them that are written when it does.
	sent   int64
	unsent []byte
}

func (m *inetMaker) thing(rec *stream.Record) (*Thing, error) {
	s, err := decoded[record.InetSock](rec)
	if err != nil {
		return nil, err
	}
	if !connected(s) && s.State != sys.TCPSynSent || s.Pair != 0 {
		return &Thing{Paired: s.Pair != 0}, nil
	}
	t := &Thing{Name: ends.TCP(addrPort(s.Peer)), Loose: "whose other end is", Self: []ends.Action{ends.Close, ends.Connect}, Default: ends.Close}
	if s.State == sys.TCPSynSent {
		t.Default = ends.Connect
	}
	if s.Repair != nil {
		if m.kept.image == nil {
			m.kept.image = map[nft.Flow]bool{}
		}
		m.kept.image[nft.Flow{Local: plain(addrPort(s.Local)), Peer: plain(addrPort(s.Peer))}] = true
		t.Self = append(t.Self, ends.Keep)
		if m.Killed { // else the connection went on without what is restored
			t.Default = ends.Keep
		}
	}
	return t, nil
}

// connected reports whether a socket was one end of a TCP connection.
func connected(s *record.InetSock) bool {
	switch s.State {
	case sys.TCPListen, sys.TCPSynSent, sys.TCPClose:
		return false
	}
	return s.Kind == unix.SOCK_STREAM
}

func (m *inetMaker) check(rec *stream.Record) []error {
	s, err := decoded[record.InetSock](rec)
	if err == nil {
		err = judgeInetSock(s)
	}
	if err == nil && !m.Paper {
		err = m.try(s)
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

func typeOf(s *record.InetSock) sockType { return sockType{s.Domain, s.Kind, s.Protocol} }

func judgeInetSock(s *record.InetSock) error {
	t := typeOf(s)
	impossible := s.State < sys.TCPEstablished || s.State > sys.TCPClosing || s.State == sys.TCPTimeWait || s.Backlog < 0 || s.Waiting < 0 || s.Unread < 0 || s.Unread > maxSockBytes || s.Shutdown&^shutBoth != 0
	switch {
	case !t.tcp():
		impossible = impossible || s.State != sys.TCPClose && s.State != sys.TCPEstablished || (s.State == sys.TCPEstablished) != (s.Peer != nil)
	case s.State == sys.TCPListen:
		impossible = impossible || s.Local == nil || s.Local.Port == 0
	case s.State != sys.TCPClose:
		impossible = impossible || s.Local == nil || s.Peer == nil
	}
	impossible = impossible || (s.Pair != 0) != (s.PairDomain != 0) || s.Pair != 0 && (!connected(s) || s.Protocol != unix.IPPROTO_TCP || s.Pair == s.Ino || s.Local != nil && s.Peer != nil && addrPort(s.Local) == addrPort(s.Peer)) || s.PairDomain != 0 && s.PairDomain != unix.AF_INET && s.PairDomain != unix.AF_INET6
	if impossible || !t.isOurs() || (s.Ended || s.Failed) && (s.State != sys.TCPClose || !t.tcp()) {
		return fmt.Errorf("%w: socket %d of family %d, type %d and protocol %d in state %d", stream.ErrCorrupt, s.Ino, s.Domain, s.Kind, s.Protocol, s.State)
	}
	return errors.Join(judgeRepair(s), checkAddr(s.Local, s.Domain), checkAddr(s.Peer, s.Domain), checkOptions(s.Options, optionSet(s)), checkMembers(s))
}

// here: what it takes to bind to a port and to set options.
func (m *inetMaker) here(rec *stream.Record) []error {
	s, err := decoded[record.InetSock](rec)
	if err != nil {
		return nil
	}
	who := fmt.Sprintf("socket:[%d]", s.Ino)
	errs := append(m.optionsHere(who, s.Options), m.keepHere(s)...)
	if s.Kind == unix.SOCK_RAW {
		errs = append(errs, m.Own.Need(caps.Of(unix.CAP_NET_RAW), who, "make %s again, a raw socket")...)
	}
	if !binds(s) || !privileged(s) {
		return errs
	}
	return append(errs, m.Own.Need(caps.Of(unix.CAP_NET_BIND_SERVICE), addrPort(s.Local).String(), "bind a socket to %s, a port below net.ipv4.ip_unprivileged_port_start")...)
}

func (m *inetMaker) make(rec *stream.Record) (object.Object, error) {
	s, err := decoded[record.InetSock](rec)
	if err != nil {
		return nil, err
	}
	sock := &inetSock{m: m, rec: s}
	if s.Pair != 0 {
		err = m.makePair(sock)
	} else if m.keeps(s) {
		err = sock.makeKept()
	} else if m.resets(s) {
		err = sock.connect()
	} else {
		sock.f, err = m.keep(m.newSocket(s))
	}
	if err == nil && s.Kind != unix.SOCK_STREAM && s.Peer != nil {
		err = sock.toPeer()
	}
	if err != nil {
		return nil, err
	}
	m.open, m.all = append(m.open, sock), append(m.all, sock)
	return sock, nil
}

// resets reports whether a socket is made as one whose other end has gone.
func (m *inetMaker) resets(s *record.InetSock) bool {
	return s.Ended || (connected(s) || s.State == sys.TCPSynSent) && !m.connects(s) && !m.keeps(s)
}

// connects reports whether a connection to the outside is to be made anew: one that was
// not established yet, unless that was decided otherwise, or one for which it was decided.
func (m *inetMaker) connects(s *record.InetSock) bool {
	if s.Pair != 0 || !connected(s) && s.State != sys.TCPSynSent {
		return false
	}
	d := m.replacements.joined[s.Objref]
	return d != nil && d.Action == ends.Connect || d == nil && s.State == sys.TCPSynSent
}

// toPeer is connect(2) to the peer.
func (s *inetSock) toPeer() error {
	fd, err := s.f.Fd()
	if err != nil {
		return err
	}
	to, err := sockaddr(fd, s.rec.Peer)
	if err == nil {
		err = unix.Connect(fd, to)
	}
	if err != nil && err != unix.EINPROGRESS {
		return fmt.Errorf("connect %s to %v: %w", nameOf(s.rec), addrPort(s.rec.Peer), err)
	}
	return nil
}

// Complete sets what must not be set earlier.
func (s *inetSock) Complete() error {
	if err := s.m.stopListening(); err != nil { // all are made by now
		return err
	}
	switch {
	case s.rec.Pair != 0:
		return s.completePair()
	case s.m.keeps(s.rec):
		return s.completeKept()
	case s.m.resets(s.rec) && s.other == nil:
		return nil // it is complete
	case s.m.resets(s.rec):
		return s.reset()
	}
	if s.rec.Shutdown == 0 {
		return nil
	}
	fd, err := s.f.Fd()
	if err != nil {
		return err
	}
	// Of one that is not connected, the kernel shuts down all the same, see inet_shutdown.
	if err := unix.Shutdown(fd, s.rec.Shutdown-1); err != nil && err != unix.ENOTCONN {
		return fmt.Errorf("shut down %s: %w", nameOf(s.rec), err)
	}
	return nil
}

// Commit lets others connect. The last of all sockets does what must wait until all of
// them listen.
func (s *inetSock) Commit() error {
	fd, err := s.f.Fd()
	if err != nil {
		return err
	}
	if s.rec.State == sys.TCPListen {
		if err := unix.Listen(fd, s.rec.Backlog); errors.Is(err, unix.EADDRINUSE) {
			return inetBindError(s.rec, err)
		} else if err != nil {
			return fmt.Errorf("listen on %s: %w", nameOf(s.rec), err)
		}
	}
	if s.m.open = s.m.open[1:]; len(s.m.open) > 0 {
		return nil
	}
	var errs []error
	for _, sock := range s.m.all {
		errs = append(errs, sock.settle())
	}
	return errors.Join(errs...)
}

// settle makes SO_REUSEADDR what it was: sockets with the same port needed it to
// listen. And it connects to others, who may be of the tree.
func (s *inetSock) settle() error {
	if s.rec.Kind != unix.SOCK_STREAM {
		return nil
	}
	fd, err := s.f.Fd()
	if err != nil {
		return err
	}
	if binds(s.rec) || s.rec.Pair != 0 {
		was, _ := optionOf(s.rec.Options, unix.SOL_SOCKET, unix.SO_REUSEADDR)
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, int(was)))
	}
	if s.m.connects(s.rec) {
		err = errors.Join(err, s.connectAgain(fd))
	}
	return err
}

// connectAgain begins to connect, without waiting for it.
func (s *inetSock) connectAgain(fd int) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	err = s.toPeer()
	_, ferr := unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
	return errors.Join(err, os.NewSyscallError("fcntl", ferr))
}

// Close drops our references.
func (s *inetSock) Close() error {
	err := errors.Join(s.m.stopListening(), s.close())
	if s.m.kept.undone { // the depot and all tasks are gone by now, and so all sockets
		err = errors.Join(err, s.m.kept.letGo())
	}
	return err
}

// Undo notes that packets need not be held until the tasks run.
func (s *inetSock) Undo() error {
	s.m.kept.undone = true
	return nil
}

func (s *inetSock) close() error {
	if s.other == nil || s.peer != nil { // the other end is closed by its own object
		return s.f.Close()
	}
	return errors.Join(s.other.Close(), s.f.Close())
}

// Fill writes the bytes of a SOCKDATA record, through the other end. What had been sent
// and not acknowledged matters only if the connection goes on.
func (s *inetSock) Fill(rec *stream.Record, data io.Reader) error {
	if s.m.keeps(s.rec) {
		return s.fillKept(rec, data)
	}
	if rec.Type == record.TypeSockSent {
		return nil
	}
	if s.m.connects(s.rec) {
		s.m.Note("%d bytes that waited in %s are lost, because it is connected anew", rec.DataLen, nameOf(s.rec))
		return nil
	}
	if s.kept += rec.DataLen; s.other == nil || s.kept > s.rec.Unread {
		return fmt.Errorf("%w: %d bytes in %s", stream.ErrCorrupt, rec.DataLen, nameOf(s.rec))
	}
	buf := make([]byte, rec.DataLen)
	if _, err := io.ReadFull(data, buf); err != nil {
		return stream.ErrTruncated
	}
	to, err := s.other.Fd()
	if err != nil {
		return err
	}
	return push(to, buf)
}

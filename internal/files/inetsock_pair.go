package files

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// A TCP connection of which the tree has both ends is made again between the same two
// addresses: by connecting to a listener of our own, before any of the tree's listens.
// What was received and not read is sent again, by the other end. What was sent and not
// received can't be seen: the kernel is made to receive it, see makeRoom.

// inetEnd is an end of such a connection.
type inetEnd struct {
	sub      *Subject
	name     string
	pair     uint64 // inode number of the other
	unsent   uint64 // bytes that wait to be sent
	sent     uint64 // bytes that were sent, and
	received uint64 // that were received
}

// pair notes that the other end of a connection is in the tree.
func (s *inetSocks) pair(sub *Subject, fd int, rec *record.InetSock, other *sys.InetSocket) error {
	info, err := tcpInfo(fd)
	if err != nil {
		return err
	}
	end := &inetEnd{sub: sub, name: Describe(sub), pair: other.Ino, unsent: uint64(info.Notsent_bytes), sent: info.Bytes_sent - info.Bytes_retrans, received: info.Bytes_received}
	// The end of the stream counts as a byte: one received, see tcp_data_queue, and one
	// that is still to be sent.
	if hasEnded(rec) && end.received > 0 {
		end.received--
	}
	if end.unsent > 0 && (rec.State == sys.TCPFinWait1 || rec.State == sys.TCPClosing || rec.State == sys.TCPLastAck) {
		end.unsent--
	}
	if own := s.conns[connection{plain(addrPort(rec.Local)), plain(addrPort(rec.Peer))}]; own != nil {
		rec.Shutdown = own.Shutdown & shutBoth
	}
	rec.Pair, rec.PairDomain = other.Ino, other.Family
	s.pairs[rec.Ino] = end
	s.order = append(s.order, end)
	return nil
}

// makeRoom has a socket receive what the other end of its connection could not send yet,
// because here it had no room: with a larger buffer, that comes at once, by the kernel
// alone. What is received, we see. Then the buffer gets its size back, also if we die.
func (s *inetSocks) makeRoom(sub *Subject, fd int, other *sys.InetSocket) error {
	waiting, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	if err != nil || waiting == 0 || other.Unacked == 0 || s.c.Dry || sub.PID == os.Getpid() { // no task has one in flight, and so none could put that right
		return os.NewSyscallError("ioctl", err)
	}
	old, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	lock, lerr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, soBufLock)
	if err != nil || lerr != nil {
		return os.NewSyscallError("getsockopt", err) // without SO_BUF_LOCK the size can't be left to TCP again
	}
	back := binary.NativeEndian.AppendUint32(nil, uint32(old+1)/2)
	back = binary.NativeEndian.AppendUint32(back, uint32(lock))
	var over [2]func() error
	for i, option := range []struct{ name, at uint64 }{{soBufLock, 4}, {unix.SO_RCVBUF, 0}} { // the last is the first to be called
		over[i], err = s.c.Guard(back, unix.SYS_SETSOCKOPT, uint64(sub.FD), unix.SOL_SOCKET, option.name, ScratchArg+option.at, 4)
		if err != nil || over[i] == nil {
			return err
		}
	}
	err = s.receive(fd, waiting, int(other.Unacked))
	err = errors.Join(err, setSockBuf(fd, findOption(unix.SOL_SOCKET, unix.SO_RCVBUF), (old+1)&^1), os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, soBufLock, lock)))
	return errors.Join(err, over[1](), over[0]())
}

// receive makes the buffer larger, and waits as long as more comes.
func (s *inetSocks) receive(fd, waiting, more int) error {
	const step, steps = time.Millisecond, 20
	room := 2*(waiting+more) + 1<<16 // bytes take more memory than they are
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room); err != nil {
		return nil // without CAP_NET_ADMIN the old size could not be set again; judgePairs tells it
	}
	for idle, had := 0, waiting; idle < steps && had < waiting+more; idle++ {
		// Looking has the kernel tell the other end of the room, see tcp_cleanup_rbuf.
		if _, _, err := unix.Recvfrom(fd, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT); err != nil && err != unix.EINTR && err != unix.EAGAIN {
			return peekError(err)
		}
		n, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
		if err != nil {
			return os.NewSyscallError("ioctl", err)
		}
		if n != had {
			idle, had = 0, n
		}
		time.Sleep(step)
	}
	return nil
}

// judgePairs blocks connections with bytes between their ends, for which the receiver
// could not be given room.
func (s *inetSocks) judgePairs() error {
	if s.c.Dry {
		return nil // nothing was done about them
	}
	for _, end := range s.order {
		other := s.pairs[end.pair]
		if other == nil {
			continue // it is blocked itself
		}
		if left := end.unsent + end.sent - other.received; left != 0 {
			err := fmt.Errorf("fd %d is %s, whose other end, fd %d of pid %d, has had no room yet for %d bytes that were sent, which can't be saved", end.sub.FD, end.name, other.sub.FD, other.sub.PID, left)
			s.c.Block(end.sub.PID, passing{cli.WithHint(err, "give ckpt-collect CAP_NET_ADMIN, which lets it make room; or save it when the other end has read more")})
		}
	}
	return nil
}

// hasEnded reports whether the other end had said that it sends no more.
func hasEnded(s *record.InetSock) bool {
	return s.State == sys.TCPCloseWait || s.State == sys.TCPLastAck || s.State == sys.TCPClosing
}

// makePair makes both ends for the first of them, and gives the second its own.
func (m *inetMaker) makePair(sock *inetSock) error {
	s := sock.rec
	if first := m.alone[s.Ino]; first != nil {
		delete(m.alone, s.Ino)
		if first.rec.Ino != s.Pair || first.rec.PairDomain != s.Domain || s.PairDomain != first.rec.Domain || addrPort(first.rec.Local) != addrPort(s.Peer) || addrPort(first.rec.Peer) != addrPort(s.Local) {
			return fmt.Errorf("%w: sockets %d and %d are not a connection", stream.ErrCorrupt, s.Ino, first.rec.Ino)
		}
		sock.f, sock.peer, first.peer = first.other, first, sock
		sock.other = first.f
		return m.own(sock)
	}
	ours, theirs, err := connectBoth(s)
	if err != nil {
		err = fmt.Errorf("connect %s to %v again: %w", nameOf(s), addrPort(s.Peer), err)
		if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EADDRINUSE) {
			err = cli.WithHint(err, "what is left of an earlier connection may have these addresses for a minute: wait, and try again")
		}
		return err
	}
	var errs [2]error
	sock.f, errs[0] = m.Depot.Keep(os.NewFile(uintptr(ours), nameOf(s)))
	sock.other, errs[1] = m.Depot.Keep(os.NewFile(uintptr(theirs), nameOf(s)))
	m.alone[s.Pair] = sock
	return errors.Join(errs[0], errs[1], m.own(sock))
}

// own sets the owner of a socket.
func (m *inetMaker) own(sock *inetSock) error {
	f, err := sock.f.Dup()
	if err != nil {
		return err
	}
	return errors.Join(m.chown(f, sock.rec.UID, sock.rec.GID, fmt.Sprintf("socket:[%d]", sock.rec.Ino)), f.Close())
}

// otherAddr is the address of the other end, as that has it.
func otherAddr(s *record.InetSock) *record.InetAddr {
	a := recordAddr(addrPort(s.Peer), s.PairDomain)
	if s.PairDomain == unix.AF_INET6 {
		a.Scope, a.Device = s.Peer.Scope, s.Peer.Device
	}
	return a
}

// connectBoth connects both ends. The port of one that had connected may be that of other
// connections as well, to other addresses, and nobody can listen with it then; so the
// other listens.
func connectBoth(s *record.InetSock) (ours, theirs int, err error) {
	self, other := connectable{s.Domain, s.Local, s.Options}, connectable{s.PairDomain, otherAddr(s), s.Options}
	ours, theirs, err = connectTo(self, other)
	if errors.Is(err, unix.EADDRINUSE) {
		theirs, ours, err = connectTo(other, self)
	}
	return ours, theirs, err
}

// connectable is what one end of a connection is made of.
type connectable struct {
	domain  int
	at      *record.InetAddr
	options []record.LevelOption
}

// connectTo connects from one end to the other, which listens.
func connectTo(from, to connectable) (connected, accepted int, err error) {
	listening, err := boundTo(to.domain, to.at, to.options)
	if err != nil {
		return -1, -1, err
	}
	defer unix.Close(listening)
	bigBuffer(listening, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF) // the accepted end inherits it
	if err := unix.Listen(listening, 8); err != nil {
		return -1, -1, os.NewSyscallError("listen", err)
	}
	for until := time.Now().Add(reuseLimit); ; time.Sleep(50 * time.Millisecond) {
		connected, err = boundTo(from.domain, from.at, from.options)
		if err != nil {
			return -1, -1, err
		}
		bigBuffer(connected, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF)
		if accepted, err = join(listening, connected, true); err == nil {
			return connected, accepted, unix.SetNonblock(connected, false)
		}
		err = errors.Join(err, os.NewSyscallError("close", unix.Close(connected)))
		if !errors.Is(err, unix.EADDRNOTAVAIL) || time.Now().After(until) {
			return -1, -1, err
		}
	}
}

// reuseLimit is longer than the second for which the kernel keeps two addresses apart
// that were connected before, see net.ipv4.tcp_tw_reuse.
const reuseLimit = 3 * time.Second

// boundTo makes a socket with an address, which others may have, too.
func boundTo(domain int, a *record.InetAddr, options []record.LevelOption) (int, error) {
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if domain == unix.AF_INET6 {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 0))
	}
	if on, _ := optionOf(options, unix.SOL_IP, unix.IP_FREEBIND); on != 0 {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1))
	}
	err = os.NewSyscallError("setsockopt", err)
	at, aerr := sockaddr(fd, a)
	if err = errors.Join(err, aerr); err == nil {
		err = os.NewSyscallError("bind", bindShared(fd, at))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bindShared binds a socket that will connect. Whoever may use TCP_REPAIR is not hindered
// by what is left of an earlier connection, which has the port for a minute and does not
// share it.
func bindShared(fd int, at unix.Sockaddr) error {
	const on, offSilently = 1, -1 // TCP_REPAIR_OFF_NO_WP of uapi linux/tcp.h
	err := unix.Bind(fd, at)
	if err != unix.EADDRINUSE || unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_REPAIR, on) != nil {
		return err
	}
	return errors.Join(unix.Bind(fd, at), unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_REPAIR, offSilently),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
}

// completePair waits until all bytes have arrived, and sets what must not be set
// earlier.
func (s *inetSock) completePair() error {
	if s.peer == nil {
		return fmt.Errorf("%w: the other end (%[3]d) of socket %[2]d is not in the image", stream.ErrCorrupt, s.rec.Ino, s.rec.Pair)
	}
	fd, err := s.f.Fd()
	if err != nil {
		return err
	}
	if err := s.arrived(fd); err != nil {
		return fmt.Errorf("refill %s: %w", nameOf(s.rec), err)
	}
	s.other = nil
	for _, how := range []struct {
		shut bool
		how  int
	}{{s.rec.Shutdown&shutWrite != 0, unix.SHUT_WR}, {s.rec.Shutdown&shutRead != 0 && !hasEnded(s.rec), unix.SHUT_RD}} {
		if how.shut {
			if err := unix.Shutdown(fd, how.how); err != nil {
				return fmt.Errorf("shut down %s: %w", nameOf(s.rec), err)
			}
		}
	}
	return s.finish(fd)
}

// finish gives a socket its options.
func (s *inetSock) finish(fd int) error {
	if s.rec.Pair != 0 || s.rec.Unread > 0 {
		s.tuneAgain(fd)
	}
	// Of a connection it means nothing, and bind(2) to an address has set it.
	options := slices.DeleteFunc(slices.Clone(s.rec.Options), func(o record.LevelOption) bool {
		return o.Level == unix.SOL_IPV6 && o.Name == unix.IPV6_V6ONLY
	})
	if err := setOptions(fd, options); err != nil {
		return fmt.Errorf("%s: %w", nameOf(s.rec), err)
	}
	return nil
}

// tuneAgain leaves buffers that were made larger to TCP again, unless the program had set
// their sizes.
func (s *inetSock) tuneAgain(fd int) {
	if _, has := optionOf(s.rec.Options, unix.SOL_SOCKET, unix.SO_RCVBUF); !has {
		smallBuffer(fd, unix.SO_RCVBUF, s.kept)
	}
	if _, has := optionOf(s.rec.Options, unix.SOL_SOCKET, unix.SO_SNDBUF); !has {
		smallBuffer(fd, unix.SO_SNDBUF, 0)
	}
	if _, has := optionOf(s.rec.Options, unix.SOL_SOCKET, soBufLock); !has {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, soBufLock, 0) // kernels before 5.14 have no such option
	}
}

// smallBuffer is the opposite of bigBuffer: room for what waits, and for as much as a new
// socket has.
func smallBuffer(fd, option int, waiting int64) {
	const usual = 1 << 16 // half of the second number of net.ipv4.tcp_rmem
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, int(max(usual, waiting)))
}

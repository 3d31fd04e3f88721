package files

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// A connection whose other end is gone is made over the loopback interface, with an
// other end of our own. That sends what the program has yet to read, and then resets
// the connection, or ends it if the real one had ended its side.

// loopbackLimit bounds each step of that. Only packet filters can delay it.
const loopbackLimit = 10 * time.Second

// connect makes both ends of one.
func (s *inetSock) connect() error {
	ours, theirs, err := s.m.loopback(s.rec)
	if err != nil {
		return fmt.Errorf("make a connection over the loopback interface, to have its other end gone: %w", err)
	}
	name := nameOf(s.rec)
	var errs [3]error
	f := os.NewFile(uintptr(ours), name)
	errs[0] = s.m.chown(f, s.rec.UID, s.rec.GID, fmt.Sprintf("socket:[%d]", s.rec.Ino))
	s.f, errs[1] = s.m.Depot.Keep(f)
	s.other, errs[2] = s.m.Depot.Keep(os.NewFile(uintptr(theirs), name))
	err = errors.Join(errs[:]...)
	if err != nil || s.rec.Unread > 0 {
		return err
	}
	return s.reset() // at once: there may be thousands, and each of the other ends is a descriptor
}

// listener returns a socket of ours that listens on the loopback interface, made on first
// use for each domain, for there may be thousands of connections.
func (m *inetMaker) listener(domain int) (int, error) {
	if f := m.listeners[domain]; f != nil {
		return f.Fd()
	}
	var at unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if domain == unix.AF_INET6 {
		at = &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	err = errors.Join(os.NewSyscallError("bind", unix.Bind(fd, at)), os.NewSyscallError("listen", unix.Listen(fd, 8)))
	f := os.NewFile(uintptr(fd), "a listener")
	if err != nil {
		return -1, errors.Join(err, f.Close())
	}
	kept, err := m.Depot.Keep(f)
	if err != nil {
		return -1, err
	}
	m.listeners[domain] = kept
	return kept.Fd()
}

// stopListening closes those listeners. The last connection may be closed by then.
func (m *inetMaker) stopListening() error {
	var errs []error
	for _, f := range m.listeners {
		errs = append(errs, f.Close())
	}
	clear(m.listeners)
	return errors.Join(errs...)
}

// loopback connects a socket of a record's type to one of ours.
func (m *inetMaker) loopback(rec *record.InetSock) (ours, theirs int, err error) {
	domain := unix.AF_INET
	only, _ := optionOf(rec.Options, unix.SOL_IPV6, unix.IPV6_V6ONLY)
	if rec.Domain == unix.AF_INET6 && only != 0 {
		domain = unix.AF_INET6
	}
	listening, err := m.listener(domain)
	if err != nil {
		return -1, -1, err
	}
	ours, err = unix.Socket(rec.Domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, -1, os.NewSyscallError("socket", err)
	}
	if rec.Domain == unix.AF_INET6 {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(ours, unix.SOL_IPV6, unix.IPV6_V6ONLY, int(only)))
	}
	if err == nil {
		theirs, err = join(listening, ours, rec.Unread > 0)
	}
	if err == nil {
		err = unix.SetNonblock(ours, false)
	}
	if err != nil {
		return -1, -1, errors.Join(err, os.NewSyscallError("close", unix.Close(ours)))
	}
	return ours, theirs, nil
}

// join connects a socket to one that listens, and returns the other end. Anybody may
// connect to that, so it is the one whose peer is ours. If bytes will be sent to ours,
// there is room for them.
func join(listening, ours int, roomy bool) (int, error) {
	if roomy {
		bigBuffer(ours, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF)
	}
	to, err := unix.Getsockname(listening)
	if err != nil {
		return -1, os.NewSyscallError("getsockname", err)
	}
	domain, err := unix.GetsockoptInt(ours, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return -1, os.NewSyscallError("getsockopt", err)
	}
	if err := unix.Connect(ours, inDomain(to, domain)); err != nil && err != unix.EINPROGRESS {
		return -1, os.NewSyscallError("connect", err)
	}
	if err := waitFor(ours, unix.POLLOUT); err != nil {
		return -1, err
	}
	self, err := unix.Getsockname(ours)
	if err != nil {
		return -1, os.NewSyscallError("getsockname", err)
	}
	for {
		if err := waitFor(listening, unix.POLLIN); err != nil {
			return -1, err
		}
		theirs, peer, err := unix.Accept4(listening, unix.SOCK_CLOEXEC)
		if err != nil {
			return -1, os.NewSyscallError("accept4", err)
		}
		if addrPort(addrOf(theirs, peer)) == addrPort(addrOf(ours, self)) {
			if roomy {
				bigBuffer(theirs, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF)
			}
			return theirs, nil
		}
		unix.Close(theirs)
	}
}

// inDomain is an address as sockets of a domain have it.
func inDomain(sa unix.Sockaddr, domain int) unix.Sockaddr {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		if domain == unix.AF_INET6 {
			return &unix.SockaddrInet6{Port: a.Port, Addr: netip.AddrFrom4(a.Addr).As16()}
		}
	case *unix.SockaddrInet6:
		if ip := netip.AddrFrom16(a.Addr); domain == unix.AF_INET && ip.Is4In6() {
			return &unix.SockaddrInet4{Port: a.Port, Addr: ip.Unmap().As4()}
		}
	}
	return sa
}

// bigBuffer makes room for all that may wait in a connection.
func bigBuffer(fd, force, option int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, fillBuf) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, fillBuf) // push fails if it is too small
	}
}

// waitFor waits for an event, at most for loopbackLimit.
func waitFor(fd int, event int16) error {
	p := []unix.PollFd{{Fd: int32(fd), Events: event}}
	for until := time.Now().Add(loopbackLimit); ; {
		n, err := unix.Poll(p, int(max(time.Until(until).Milliseconds(), 0)))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n > 0:
			return nil
		}
		return cli.WithHint(errors.New("packets don't arrive on the loopback interface"), "look at packet filters, as by nft list ruleset, and whether it is up: ip link show lo")
	}
}

// push writes bytes to a socket.
func push(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.SendmsgN(fd, b, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch err {
		case nil:
			b = b[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			if err := waitFor(fd, unix.POLLOUT); err != nil {
				return fmt.Errorf("refill a connection, %d bytes are too many: %w", len(b), err)
			}
		default:
			return fmt.Errorf("refill a connection with %d bytes: %w", len(b), err)
		}
	}
	return nil
}

// reset lets the other end go, and sets the options, of which some would have been in
// the way.
func (s *inetSock) reset() error {
	fd, err := s.f.Fd()
	if err != nil {
		return err
	}
	if err := s.leave(fd); err != nil {
		return fmt.Errorf("have the other end of %s gone: %w", nameOf(s.rec), err)
	}
	if s.rec.State == sys.TCPLastAck || s.rec.State == sys.TCPClosing {
		_ = unix.Shutdown(fd, unix.SHUT_WR) // it is over if that fails
	}
	if s.rec.Ended && !s.rec.Failed {
		if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil { // which clears it
			return os.NewSyscallError("getsockopt", err)
		}
	}
	return s.finish(fd)
}

// arrived waits until all that was sent to a socket is there.
func (s *inetSock) arrived(fd int) error {
	for until := time.Now().Add(loopbackLimit); ; time.Sleep(time.Millisecond) {
		n, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
		if err != nil || int64(n) == s.kept {
			return os.NewSyscallError("ioctl", err)
		}
		if time.Now().After(until) {
			return fmt.Errorf("only %d of %d bytes have arrived", n, s.kept)
		}
	}
}

// leave closes the other end when all that it sent has arrived.
func (s *inetSock) leave(fd int) error {
	theirs, err := s.other.Fd()
	if err != nil {
		return err
	}
	if err := s.arrived(fd); err != nil {
		return err
	}
	if !hasEnded(s.rec) {
		l := unix.Linger{Onoff: 1}
		if err := unix.SetsockoptLinger(theirs, unix.SOL_SOCKET, unix.SO_LINGER, &l); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	err = s.other.Close()
	s.other = nil
	return errors.Join(err, waitFor(fd, unix.POLLRDHUP))
}

package files

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// binds reports whether a socket gets its address by bind(2).
func binds(s *record.InetSock) bool {
	return s.Local != nil && !connected(s) && !s.Ended
}

// privileged reports whether only some users may bind to the port of a socket.
func privileged(s *record.InetSock) bool {
	first, err := proc.ReadSysctl("net/ipv4/ip_unprivileged_port_start")
	return err == nil && s.Local.Port != 0 && int64(s.Local.Port) < first
}

// newSocket makes a socket with its options, and binds it. That the address was in
// use until a moment ago, as after the kill, does not hinder: until Commit it has
// SO_REUSEADDR, if it is one of TCP. A datagram socket would take from others then.
func (m *inetMaker) newSocket(s *record.InetSock) (*os.File, error) {
	fd, err := unix.Socket(s.Domain, s.Kind|unix.SOCK_CLOEXEC, s.Protocol)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", nameOf(s), err)
	}
	f := os.NewFile(uintptr(fd), nameOf(s))
	if err := m.prepare(f, s); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (m *inetMaker) prepare(f *os.File, s *record.InetSock) error {
	fd := int(f.Fd())
	if err := m.chown(f, s.UID, s.GID, fmt.Sprintf("socket:[%d]", s.Ino)); err != nil {
		return fmt.Errorf("owner of %s: %w", nameOf(s), err)
	}
	if err := setOptions(fd, s.Options); err != nil {
		return fmt.Errorf("%s: %w", nameOf(s), err)
	}
	if err := joinGroups(fd, s); err != nil {
		return err
	}
	if !binds(s) {
		return nil
	}
	if s.Kind == unix.SOCK_STREAM {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	local, err := sockaddr(fd, s.Local)
	if err == nil {
		err = unix.Bind(fd, local)
	}
	if err != nil {
		return inetBindError(s, err)
	}
	return nil
}

// nameOf names a socket for messages.
func nameOf(s *record.InetSock) string {
	kind := map[int]string{unix.IPPROTO_TCP: "the TCP socket", protoMPTCP: "the MPTCP socket", unix.IPPROTO_UDP: "the UDP socket", protoUDPLite: "the UDP-Lite socket"}[s.Protocol]
	if typeOf(s).raw() {
		kind = "the ICMP socket"
		if s.Kind == unix.SOCK_RAW {
			kind = fmt.Sprintf("the raw socket of protocol %d", s.Protocol)
		}
	}
	if s.Local == nil {
		return kind
	}
	return fmt.Sprintf("%s %v", kind, addrPort(s.Local))
}

// try binds a socket for a moment, to see whether that can be done. What this process
// may not do is told by here.
func (m *inetMaker) try(s *record.InetSock) error {
	if m.keeps(s) {
		return m.tryKeep(s)
	}
	if s.Pair != 0 {
		fd, err := boundTo(s.Domain, s.Local, s.Options)
		if err != nil {
			return inetBindError(s, err)
		}
		return unix.Close(fd)
	}
	if !binds(s) {
		return nil
	}
	if on, _ := optionOf(s.Options, unix.SOL_SOCKET, unix.SO_REUSEPORT); on != 0 && s.Kind == unix.SOCK_DGRAM {
		// Even for a moment, it would get what is for others with the same port.
		any := *s
		local := *s.Local
		local.Port, any.Local = 0, &local
		s = &any
	}
	quiet := *m.Restart
	quiet.Note = func(string, ...any) {}
	f, err := (&inetMaker{Restorer: &Restorer{Restart: &quiet}}).newSocket(s)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// inetBindError says why a socket can't have its address again.
func inetBindError(s *record.InetSock, err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		who, hint := occupant(s)
		return cli.WithHint(fmt.Errorf("%s can't have its address again: %s", nameOf(s), who), hint)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return cli.WithHint(fmt.Errorf("%s can't have its address again, which is not one of this system", nameOf(s)),
			"give the address to a network interface, see ip-address(8), or change it in the stream")
	}
	return fmt.Errorf("bind %s: %w", nameOf(s), err)
}

// occupant says who has the address of a socket, and what to do.
func occupant(s *record.InetSock) (who, hint string) {
	protocol := s.Protocol
	if protocol == protoMPTCP {
		protocol = unix.IPPROTO_TCP
	}
	list, err := sys.ListInet(protocol)
	if err != nil {
		return "it is in use", "end the program that has it"
	}
	closing := false
	for i := range list {
		l := &list[i]
		if int(l.Local.Port()) != s.Local.Port || !overlaps(l, s) {
			continue
		}
		if l.Ino == 0 {
			closing = true
			continue
		}
		if pid := holderOf(l.Ino); pid != 0 {
			return fmt.Sprintf("%s has it", proc.Usual.Named(pid)), "end that program first"
		}
		return "another program has it", "end that program first"
	}
	if closing {
		return "connections that are being closed still have it", "wait for a minute, until they are gone"
	}
	return "it is in use", "end the program that has it"
}

// overlaps reports whether the address of a socket is also that of another.
func overlaps(l *sys.InetSocket, s *record.InetSock) bool {
	a, b := plain(l.Local).Addr(), plain(addrPort(s.Local)).Addr()
	return a == b || a.IsUnspecified() || b.IsUnspecified()
}

// holderOf returns a process that has a socket open, 0 if none is seen.
func holderOf(ino uint64) int {
	link := fmt.Sprintf("socket:[%d]", ino)
	all, _ := proc.Usual.Processes()
	for _, pid := range all {
		fds, _ := proc.Usual.FDs(pid)
		for _, fd := range fds {
			if has, err := proc.Usual.FDLink(pid, fd); err == nil && has == link {
				return pid
			}
		}
	}
	return 0
}

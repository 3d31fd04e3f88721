package files

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"ckpt/stream"
	"ckpt/stream/record"
)

// addrOf returns an address as a record has it; nil if there is neither an address nor
// a port. fd is any socket.
func addrOf(fd int, sa unix.Sockaddr) *record.InetAddr {
	var a record.InetAddr
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		a = record.InetAddr{IP: sa.Addr[:], Port: sa.Port}
	case *unix.SockaddrInet6:
		a = record.InetAddr{IP: sa.Addr[:], Port: sa.Port, Scope: sa.ZoneId, Device: deviceName(fd, sa.ZoneId)}
	default:
		return nil
	}
	if ip, _ := netip.AddrFromSlice(a.IP); ip.IsUnspecified() && a.Port == 0 {
		return nil
	}
	return &a
}

// recordAddr is an address without an interface as a record has it; nil if it is none.
func recordAddr(a netip.AddrPort, domain int) *record.InetAddr {
	switch {
	case !a.IsValid():
		return nil
	case domain == unix.AF_INET6:
		ip := a.Addr().As16()
		return &record.InetAddr{IP: ip[:], Port: int(a.Port())}
	}
	return &record.InetAddr{IP: a.Addr().AsSlice(), Port: int(a.Port())}
}

// deviceName returns the name of a network interface, "" if there is none with this
// number.
func deviceName(fd int, index uint32) string {
	req, err := unix.NewIfreq("")
	if err != nil || index == 0 {
		return ""
	}
	req.SetUint32(index)
	if unix.IoctlIfreq(fd, unix.SIOCGIFNAME, req) != nil {
		return ""
	}
	return req.Name()
}

// sockaddr is the inverse of addrOf. An interface is found by its name, because its
// number may be another's by now.
func sockaddr(fd int, a *record.InetAddr) (unix.Sockaddr, error) {
	if len(a.IP) == 4 {
		return &unix.SockaddrInet4{Addr: [4]byte(a.IP), Port: a.Port}, nil
	}
	index, err := deviceIndex(fd, a.Device, a.Scope)
	return &unix.SockaddrInet6{Addr: [16]byte(a.IP), Port: a.Port, ZoneId: index}, err
}

// deviceIndex returns the number of a network interface, which is index if it has no
// name.
func deviceIndex(fd int, name string, index uint32) (uint32, error) {
	if name == "" {
		return index, nil
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req)
	}
	if err != nil {
		return 0, fmt.Errorf("the network interface %s: %w", name, err)
	}
	return req.Uint32(), nil
}

// checkAddr returns an error for an address that sockets of a domain can't have.
func checkAddr(a *record.InetAddr, domain int) error {
	if a == nil {
		return nil
	}
	want := map[int]int{unix.AF_INET: 4, unix.AF_INET6: 16}[domain]
	if len(a.IP) != want || a.Port < 0 || a.Port > 1<<16-1 || len(a.Device) >= unix.IFNAMSIZ || want == 4 && (a.Scope != 0 || a.Device != "") {
		return fmt.Errorf("%w: a socket of family %d has the address %x and the port %d", stream.ErrCorrupt, domain, a.IP, a.Port)
	}
	return nil
}

// addrPort is an address as messages and comparisons have it: an IPv4 address that an
// IPv6 socket uses is one.
func addrPort(a *record.InetAddr) netip.AddrPort {
	if a == nil {
		return netip.AddrPort{}
	}
	ip, _ := netip.AddrFromSlice(a.IP)
	if ip = ip.Unmap(); a.Device != "" {
		ip = ip.WithZone(a.Device)
	}
	return netip.AddrPortFrom(ip, uint16(a.Port))
}

// plain is an address without a zone, as sock_diag(7) tells it.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().WithZone("").Unmap(), a.Port())
}

package sys

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// InetSocket is what sock_diag(7) says of a socket of TCP or UDP.
type InetSocket struct {
	Family   int
	State    int // TCP_ESTABLISHED and so on, see below
	Local    netip.AddrPort
	Peer     netip.AddrPort
	Ino      uint64 // 0: no process has it
	Unread   uint32 // bytes that were received and not read, a FIN included
	Unacked  uint32 // bytes that it sent or wants to send, and that nobody has acknowledged
	Shutdown int    // bit 0: it reads no more; bit 1: it writes no more
	Signed   bool   // it has keys (TCP_MD5SIG); told only with CAP_NET_ADMIN
}

// States of a TCP socket, of include/net/tcp_states.h.
const (
	TCPEstablished = 1 + iota
	TCPSynSent
	TCPSynRecv
	TCPFinWait1
	TCPFinWait2
	TCPTimeWait
	TCPClose
	TCPCloseWait
	TCPLastAck
	TCPListen
	TCPClosing
)

// From include/uapi/linux/inet_diag.h.
const (
	idiagReqBytes = 56
	idiagMsgBytes = 72
	idiagInfo     = 2  // INET_DIAG_INFO
	idiagShutdown = 8  // INET_DIAG_SHUTDOWN
	idiagMD5      = 18 // INET_DIAG_MD5SIG
)

// ListInet lists the sockets of TCP or UDP in this network namespace, of IPv4 and IPv6.
func ListInet(protocol int) ([]InetSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	var list []InetSocket
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		if err := listInet(fd, idiagRequest(family, byte(protocol)), &list); err != nil {
			return nil, fmt.Errorf("sock_diag for the sockets of protocol %d: %w", protocol, err)
		}
	}
	return list, nil
}

func listInet(fd int, request []byte, list *[]InetSocket) error {
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	buf := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		if done, err := parseInetList(buf[:n], list); done || err != nil {
			return err
		}
	}
}

// idiagRequest is nlmsghdr and inet_diag_req_v2.
func idiagRequest(family, protocol byte) []byte {
	e := binary.NativeEndian
	b := e.AppendUint32(nil, unix.SizeofNlMsghdr+idiagReqBytes)
	b = e.AppendUint16(b, sockDiagByFamily)
	b = e.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b = append(b, make([]byte, 8)...) // sequence number, port
	want := byte(1 << (idiagShutdown - 1))
	if protocol == unix.IPPROTO_TCP { // without that the kernel does not tell of keys
		want |= 1 << (idiagInfo - 1)
	}
	b = append(b, family, protocol, want, 0)
	b = e.AppendUint32(b, ^uint32(0)) // any state
	return append(b, make([]byte, idiagReqBytes-8)...)
}

// parseInetList adds the sockets of one datagram, and reports whether it was the last.
func parseInetList(b []byte, list *[]InetSocket) (done bool, _ error) {
	e := binary.NativeEndian
	for len(b) >= unix.SizeofNlMsghdr {
		n := int(e.Uint32(b))
		if n < unix.SizeofNlMsghdr || n > len(b) {
			return false, errDiag
		}
		switch typ := e.Uint16(b[4:]); {
		case typ == unix.NLMSG_DONE:
			return true, nil
		case typ == unix.NLMSG_ERROR && n >= unix.SizeofNlMsghdr+4:
			return true, unix.Errno(-int32(e.Uint32(b[unix.SizeofNlMsghdr:])))
		case typ != sockDiagByFamily || n < unix.SizeofNlMsghdr+idiagMsgBytes:
			return false, errDiag
		}
		s, err := parseInetDiag(b[unix.SizeofNlMsghdr:n])
		if err != nil {
			return false, err
		}
		*list = append(*list, s)
		b = b[min((n+3)&^3, len(b)):]
	}
	return false, nil
}

// parseInetDiag parses inet_diag_msg and its attributes.
func parseInetDiag(b []byte) (InetSocket, error) {
	e := binary.NativeEndian
	s := InetSocket{Family: int(b[0]), State: int(b[1]), Unread: e.Uint32(b[56:]), Unacked: e.Uint32(b[60:]), Ino: uint64(e.Uint32(b[68:]))}
	s.Local = diagAddr(s.Family, b[8:24], b[4:6])
	s.Peer = diagAddr(s.Family, b[24:40], b[6:8])
	for b = b[idiagMsgBytes:]; len(b) >= nlAttrBytes; {
		n, attr := int(e.Uint16(b)), e.Uint16(b[2:])
		if n < nlAttrBytes || n > len(b) {
			return s, errDiag
		}
		if attr == idiagShutdown && n > nlAttrBytes {
			s.Shutdown = int(b[nlAttrBytes])
		}
		s.Signed = s.Signed || attr == idiagMD5
		b = b[min((n+3)&^3, len(b)):]
	}
	return s, nil
}

func diagAddr(family int, ip, port []byte) netip.AddrPort {
	a := netip.AddrFrom16([16]byte(ip))
	if family == unix.AF_INET {
		a = netip.AddrFrom4([4]byte(ip))
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
}

package sys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// UnixSocket is what sock_diag(7) says of a unix socket.
type UnixSocket struct {
	Ino      uint64    // inode number; 0 if no descriptor has it, before accept(2) or after close(2)
	Type     int       // SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET
	State    int       // TCP_ESTABLISHED and so on, see below
	Name     []byte    // the address it is bound to, as in sun_path; nil without
	File     UnixInode // the file it is bound to
	HasPeer  bool      // it was connected
	Peer     uint64    // inode number of the other end, 0: that is closed
	Waiting  []uint64  // connections that wait for accept(2): inode numbers of their clients, 0: that is closed
	Backlog  int       // how many more may wait, see listen(2)
	Queued   uint32    // bytes waiting in it; of a SOCK_DGRAM those of the first message
	SendMem  uint32    // bytes of memory taken by what it sent and nobody has read
	Shutdown int       // bit 0: it reads no more; bit 1: it writes no more
}

// UnixInode is what sock_diag(7) says of a socket's file; zero without one. Of the inode
// number there are 32 bits, and the device is that of the file system, which stat(2) may
// show another for.
type UnixInode struct {
	Ino uint32
	Dev uint64 // as makedev(3) makes it
}

// States of a unix socket, the TCP_ values of include/net/tcp_states.h.
const (
	UnixConnected   = 1
	UnixUnconnected = 7
	UnixListening   = 10
)

// From include/uapi/linux/unix_diag.h and sock_diag.h.
const (
	sockDiagByFamily = 20
	udiagShowPending = 8
	udiagShow        = 1 | 2 | 4 | udiagShowPending | 0x10 | 0x20 // name, file, peer, pending connections, queue length, memory
	udiagReqBytes    = 24
	udiagMsgBytes    = 16

	unixDiagName     = 0
	unixDiagVFS      = 1
	unixDiagPeer     = 2
	unixDiagICons    = 3
	unixDiagRQLen    = 4
	unixDiagMemInfo  = 5
	unixDiagShutdown = 6

	nlAttrBytes = 4
)

var errDiag = errors.New("an answer that is cut short")

// QueryUnix asks for the unix socket with an inode number in this network
// namespace. ENOENT: there is none.
func QueryUnix(ino uint64) (*UnixSocket, error) {
	s, err := queryUnix(ino)
	if err != nil {
		return nil, fmt.Errorf("sock_diag for unix socket %d: %w", ino, err)
	}
	return s, nil
}

func queryUnix(ino uint64) (*UnixSocket, error) {
	if ino == 0 || ino>>32 != 0 {
		return nil, unix.ENOENT // the request has 32 bits
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, udiagRequest(uint32(ino), 0, udiagShow), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	buf := make([]byte, 1<<16) // thousands may wait
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return nil, os.NewSyscallError("recvfrom", err)
	}
	return parseUnixDiag(buf[:n])
}

// udiagRequest is nlmsghdr and unix_diag_req.
func udiagRequest(ino uint32, flags uint16, show uint32) []byte {
	e := binary.NativeEndian
	b := e.AppendUint32(nil, unix.SizeofNlMsghdr+udiagReqBytes)
	b = e.AppendUint16(b, sockDiagByFamily)
	b = e.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = append(b, make([]byte, 8)...) // sequence number, port
	b = append(b, unix.AF_UNIX, 0, 0, 0)
	b = e.AppendUint32(b, ^uint32(0)) // any state
	b = e.AppendUint32(b, ino)
	b = e.AppendUint32(b, show)
	return e.AppendUint64(b, ^uint64(0)) // no cookie
}

// parseUnixDiag parses the answer: nlmsghdr and unix_diag_msg with attributes,
// or an errno.
func parseUnixDiag(b []byte) (*UnixSocket, error) {
	e := binary.NativeEndian
	if len(b) < unix.SizeofNlMsghdr+4 || int(e.Uint32(b)) > len(b) || e.Uint32(b) < unix.SizeofNlMsghdr+4 {
		return nil, errDiag
	}
	typ := e.Uint16(b[4:])
	b = b[unix.SizeofNlMsghdr:e.Uint32(b)]
	if typ == unix.NLMSG_ERROR {
		return nil, unix.Errno(-int32(e.Uint32(b)))
	}
	if typ != sockDiagByFamily || len(b) < udiagMsgBytes {
		return nil, errDiag
	}
	s := &UnixSocket{Type: int(b[1]), State: int(b[2]), Ino: uint64(e.Uint32(b[4:]))}
	for b = b[udiagMsgBytes:]; len(b) >= nlAttrBytes; {
		n, attr := int(e.Uint16(b)), e.Uint16(b[2:])
		if n < nlAttrBytes || n > len(b) {
			return nil, errDiag
		}
		if !s.attribute(attr, b[nlAttrBytes:n]) {
			return nil, errDiag
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return s, nil
}

// unixName is a name without the zero byte at the end of a path.
func unixName(v []byte) []byte {
	if len(v) > 0 && v[0] != 0 {
		v, _, _ = bytes.Cut(v, []byte{0})
	}
	return bytes.Clone(v)
}

// attribute stores one attribute and reports whether it is well formed.
func (s *UnixSocket) attribute(typ uint16, v []byte) bool {
	e := binary.NativeEndian
	switch typ {
	case unixDiagName:
		s.Name = unixName(v)
	case unixDiagVFS:
		if len(v) != 8 {
			return false
		}
		dev := e.Uint32(v[4:]) // MAJOR and MINOR of linux/kdev_t.h
		s.File = UnixInode{e.Uint32(v), unix.Mkdev(dev>>20, dev&(1<<20-1))}
	case unixDiagPeer:
		if len(v) != 4 {
			return false
		}
		s.HasPeer, s.Peer = true, uint64(e.Uint32(v))
	case unixDiagICons:
		for ; len(v) >= 4; v = v[4:] {
			s.Waiting = append(s.Waiting, uint64(e.Uint32(v)))
		}
	case unixDiagRQLen:
		if len(v) != 8 {
			return false
		}
		if s.State == UnixListening {
			s.Backlog = int(e.Uint32(v[4:]))
			break
		}
		s.Queued = e.Uint32(v)
	case unixDiagMemInfo:
		if len(v) < 12 {
			return false
		}
		s.SendMem = e.Uint32(v[8:]) // SK_MEMINFO_WMEM_ALLOC
	case unixDiagShutdown:
		if len(v) != 1 {
			return false
		}
		s.Shutdown = int(v[0])
	}
	return true
}

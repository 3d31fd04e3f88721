package sys

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// UnixTable answers for many unix sockets. To find one the kernel walks all of
// them, so the first query lists them all.
type UnixTable struct {
	listed map[uint64]*UnixSocket // by inode number
}

// Query is QueryUnix, answered as of the first query.
func (t *UnixTable) Query(ino uint64) (*UnixSocket, error) {
	if err := t.list(); err != nil {
		return nil, err
	}
	if s := t.listed[ino]; s != nil && s.State != UnixListening {
		return s, nil
	}
	return QueryUnix(ino) // sockets come and go while the list is made, so it may lack some
}

// All returns all sockets of this network namespace, as of the first query, by inode
// number. It is not told which connections wait.
func (t *UnixTable) All() (map[uint64]*UnixSocket, error) {
	err := t.list()
	return t.listed, err
}

func (t *UnixTable) list() error {
	if t.listed != nil {
		return nil
	}
	listed, err := listUnix()
	if err != nil {
		return fmt.Errorf("sock_diag for all unix sockets: %w", err)
	}
	t.listed = listed
	return nil
}

// listUnix lists the sockets of this network namespace. Of listening ones QueryUnix tells
// more.
func listUnix() (map[uint64]*UnixSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	// Pending connections could be too many for a message, which would end the list.
	req := udiagRequest(0, unix.NLM_F_DUMP, udiagShow&^udiagShowPending)
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	listed, buf := map[uint64]*UnixSocket{}, make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		if done, err := parseUnixList(buf[:n], listed); done || err != nil {
			return listed, err
		}
	}
}

// parseUnixList adds the sockets of one datagram, and reports whether it was the last.
func parseUnixList(b []byte, listed map[uint64]*UnixSocket) (done bool, _ error) {
	e := binary.NativeEndian
	for len(b) >= unix.SizeofNlMsghdr {
		n := int(e.Uint32(b))
		if n < unix.SizeofNlMsghdr || n > len(b) {
			return false, errDiag
		}
		if e.Uint16(b[4:]) == unix.NLMSG_DONE {
			return true, nil
		}
		s, err := parseUnixDiag(b[:n])
		if err != nil {
			return false, err
		}
		if s.Ino != 0 {
			listed[s.Ino] = s
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return false, nil
}

package files

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Which multicast groups a socket is in, the kernel tells only of a group that is named.
// So all groups of the system are asked for, see MCAST_MSFILTER in ip(7).

const (
	mcastJoin   = 42 // MCAST_JOIN_GROUP of uapi linux/in.h
	mcastFilter = 48 // MCAST_MSFILTER
	storage     = 128
	groupAt     = 8 // of struct group_req and group_filter
	modeAt      = groupAt + storage
	countAt     = modeAt + 4
	sourcesAt   = countAt + 4
	maxSources  = 1 << 12
	maxMembers  = 1 << 12
)

// multicast returns the groups that a socket is in.
func (s *inetSocks) multicast(fd, domain int) (list []record.Membership, err error) {
	if s.groups == nil {
		if s.groups, err = proc.ReadMulticast(); err != nil {
			return nil, err
		}
	}
	for _, g := range s.groups {
		if domain == unix.AF_INET && g.Group.Is6() {
			continue
		}
		m, err := membership(fd, g)
		if err != nil {
			return nil, err
		}
		if m != nil {
			list = append(list, *m)
		}
	}
	return list, nil
}

// levelOf is the level of options about a group.
func levelOf(group netip.Addr) int {
	if group.Is4() {
		return unix.SOL_IP
	}
	return unix.SOL_IPV6
}

// membership asks whether a socket is in a group; nil: it is not.
func membership(fd int, g proc.Multicast) (*record.Membership, error) {
	const first = 64
	for room := first; ; {
		b := append(groupRequest(g.Index, g.Group), make([]byte, 8+room*storage)...)
		binary.NativeEndian.PutUint32(b[countAt:], uint32(room))
		_, err := sys.Getsockopt(fd, levelOf(g.Group), mcastFilter, b)
		if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOPROTOOPT) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("getsockopt MCAST_MSFILTER: %w", err)
		}
		count := int(binary.NativeEndian.Uint32(b[countAt:]))
		if count > room && count <= maxSources {
			room = count
			continue
		}
		m := &record.Membership{Group: g.Group.AsSlice(), Index: g.Index, Device: deviceName(fd, g.Index), Include: binary.NativeEndian.Uint32(b[modeAt:]) != 0}
		for i := range min(count, room) {
			m.Sources = append(m.Sources, storageAddr(b[sourcesAt+i*storage:], g.Group.Is4()))
		}
		return m, nil
	}
}

// groupRequest is struct group_req, with which struct group_filter begins.
func groupRequest(index uint32, group netip.Addr) []byte {
	b := binary.NativeEndian.AppendUint32(nil, index)
	return append(append(b, 0, 0, 0, 0), addrStorage(group)...)
}

// addrStorage is an address as struct sockaddr_storage.
func addrStorage(ip netip.Addr) []byte {
	b := make([]byte, storage)
	if ip.Is4() {
		binary.NativeEndian.PutUint16(b, unix.AF_INET)
		copy(b[4:], ip.AsSlice()) // sin_addr
		return b
	}
	binary.NativeEndian.PutUint16(b, unix.AF_INET6)
	copy(b[8:], ip.AsSlice()) // sin6_addr
	return b
}

func storageAddr(b []byte, four bool) []byte {
	if four {
		return append([]byte{}, b[4:8]...)
	}
	return append([]byte{}, b[8:24]...)
}

// checkMembers returns an error for memberships that a socket can't have.
func checkMembers(s *record.InetSock) error {
	bad := len(s.Members) > maxMembers || len(s.Members) > 0 && s.Kind == unix.SOCK_STREAM
	for _, m := range s.Members {
		group, ok := netip.AddrFromSlice(m.Group)
		bad = bad || !ok || !group.IsMulticast() || group.Is6() && s.Domain == unix.AF_INET || len(m.Sources) > maxSources || len(m.Device) >= unix.IFNAMSIZ
		for _, source := range m.Sources {
			bad = bad || len(source) != len(m.Group)
		}
	}
	if bad {
		return fmt.Errorf("%w: socket %d is in impossible multicast groups", stream.ErrCorrupt, s.Ino)
	}
	return nil
}

// joinGroups is the inverse of multicast.
func joinGroups(fd int, s *record.InetSock) error {
	for _, m := range s.Members {
		group, _ := netip.AddrFromSlice(m.Group)
		index, err := deviceIndex(fd, m.Device, m.Index)
		if err != nil {
			return err
		}
		b := groupRequest(index, group)
		if err := sys.Setsockopt(fd, levelOf(group), mcastJoin, b); err != nil {
			return fmt.Errorf("have %s join the multicast group %v on %s: %w", nameOf(s), group, m.Device, err)
		}
		if !m.Include && len(m.Sources) == 0 {
			continue
		}
		b = binary.NativeEndian.AppendUint32(b, uint32(boolInt(m.Include)))
		b = binary.NativeEndian.AppendUint32(b, uint32(len(m.Sources)))
		for _, source := range m.Sources {
			ip, _ := netip.AddrFromSlice(source)
			b = append(b, addrStorage(ip)...)
		}
		if err := sys.Setsockopt(fd, levelOf(group), mcastFilter, b); err != nil {
			return fmt.Errorf("have %s receive from the sources of the multicast group %v that it had: %w", nameOf(s), group, err)
		}
	}
	return nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

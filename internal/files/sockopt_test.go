package files

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/stream/record"
)

// TestOptions: what is read of one socket is read of another once it was set there,
// whatever options the table has for it, and nothing is read of a new one.
func TestOptions(t *testing.T) {
	for _, s := range []struct {
		name             string
		domain, kind, of int
		set              []record.LevelOption
	}{
		{"TCP", unix.AF_INET, unix.SOCK_STREAM, int(ofTCP | ofUnlinked), []record.LevelOption{
			opt(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1), opt(unix.SOL_SOCKET, unix.SO_LINGER, 3), opt(unix.SOL_SOCKET, unix.SO_RCVTIMEO, 1_500_000),
			opt(unix.SOL_SOCKET, unix.SO_RCVBUF, 20000), opt(unix.SOL_SOCKET, soBufLock, rcvBufLocked), opt(unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, 0, 0, 0, 1, 0, 0, 0, 0, 0),
			opt(unix.SOL_IP, unix.IP_TTL, 7), opt(unix.SOL_IP, unix.IP_FREEBIND, 1), opt(unix.SOL_IP, unix.IP_TOS, 0x10), opt(unix.SOL_SOCKET, unix.SO_PRIORITY, 3),
			opt(unix.SOL_TCP, unix.TCP_NODELAY, 1), opt(unix.SOL_TCP, unix.TCP_KEEPIDLE, 77), opt(unix.SOL_TCP, unix.TCP_MAXSEG, 1000), opt(unix.SOL_TCP, unix.TCP_FASTOPEN, 9),
			opt(unix.SOL_TCP, unix.TCP_CONGESTION, 0, []byte("reno")...), opt(unix.SOL_TCP, unix.TCP_USER_TIMEOUT, 4321), opt(unix.SOL_TCP, unix.TCP_DEFER_ACCEPT, 1),
			opt(unix.SOL_SOCKET, unix.SO_BINDTODEVICE, 0, []byte("lo")...),
			opt(unix.SOL_SOCKET, unix.SO_GET_FILTER, 0, 6, 0, 0, 0, 0xff, 0xff, 0, 0), opt(unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1)}},
		{"UDP over IPv6", unix.AF_INET6, unix.SOCK_DGRAM, int(ofUDP | ofV6), []record.LevelOption{
			opt(unix.SOL_IPV6, unix.IPV6_V6ONLY, 1), opt(unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1), opt(unix.SOL_IPV6, unix.IPV6_MULTICAST_HOPS, 3),
			opt(unix.SOL_IPV6, unix.IPV6_TCLASS, 0x20), opt(unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, 3), opt(unix.SOL_IP, unix.IP_PKTINFO, 1),
			opt(unix.SOL_IP, unix.IP_MULTICAST_IF, 0, 127, 0, 0, 1), opt(unix.SOL_SOCKET, unix.SO_PEEK_OFF, 5), opt(unix.SOL_UDP, unix.UDP_GRO, 1)}},
		{"netlink", unix.AF_NETLINK, unix.SOCK_RAW, int(ofNetlink), []record.LevelOption{
			opt(unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1), opt(unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1), opt(unix.SOL_SOCKET, unix.SO_PASSCRED, 1)}},
	} {
		t.Run(s.name, func(t *testing.T) {
			of := sockSet(s.of)
			var fds [3]int
			for i := range fds {
				fd, err := unix.Socket(s.domain, s.kind|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer unix.Close(fd)
				fds[i] = fd
			}
			fresh, err := readOptions(fds[2], of, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(checkOptions(s.set, of), setOptions(fds[0], s.set)); err != nil {
				t.Fatal(err)
			}
			got, err := readOptions(fds[0], of, fresh)
			if err != nil {
				t.Fatal(err)
			}
			for i := range s.set {
				if !slices.ContainsFunc(got, func(o record.LevelOption) bool { return sameOption(&o, &s.set[i]) }) {
					t.Errorf("%+v was set and is not read", s.set[i])
				}
			}
			if err := setOptions(fds[1], got); err != nil {
				t.Fatal(err)
			}
			again, err := readOptions(fds[1], of, fresh)
			if err != nil || !slices.EqualFunc(got, again, func(a, b record.LevelOption) bool { return sameOption(&a, &b) }) {
				t.Errorf("it was %+v and is %+v (%v)", got, again, err)
			}
			if same, err := readOptions(fds[2], of, fresh); err != nil || len(same) > 0 {
				t.Errorf("a new socket has %+v (%v)", same, err)
			}
		})
	}
}

func opt(level, name int, value int64, b ...byte) record.LevelOption {
	return record.LevelOption{Level: level, Name: name, Value: value, Bytes: b}
}

// TestCheckOptions: options of a stream that no socket of the kind can have.
func TestCheckOptions(t *testing.T) {
	for _, o := range []record.LevelOption{
		opt(unix.SOL_SOCKET, 12345, 1), opt(unix.SOL_TCP, unix.TCP_NODELAY, 1), opt(unix.SOL_IPV6, unix.IPV6_V6ONLY, 1),
		opt(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1<<31), opt(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1, 2), opt(unix.SOL_SOCKET, unix.SO_RCVBUF, -1),
		opt(unix.SOL_SOCKET, unix.SO_RCVTIMEO, -1), opt(unix.SOL_SOCKET, unix.SO_LINGER, -2), opt(unix.SOL_SOCKET, unix.SO_BINDTODEVICE, 3),
		opt(unix.SOL_SOCKET, unix.SO_GET_FILTER, 0, 1, 2, 3), opt(unix.SOL_SOCKET, unix.SO_BINDTODEVICE, 0, make([]byte, maxOptionBytes+1)...)} {
		if checkOptions([]record.LevelOption{o}, ofUDP) == nil {
			t.Errorf("%+v passes", o)
		}
	}
}

// TestOptionTable: each option is there once, and has a name.
func TestOptionTable(t *testing.T) {
	for i := range sockOptions {
		row := &sockOptions[i]
		if row.text == "" || row.of == 0 || findOption(row.level, row.name) != row {
			t.Errorf("%+v", *row)
		}
	}
}

package files

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/testkit"
	"ckpt/stream/record"
)

// TestConnectBoth: two ends are connected again, whichever is the first, where the port of
// the one that had connected is that of another connection to another address, too.
func TestConnectBoth(t *testing.T) {
	l := testkit.Must(net.Listen("tcp4", "127.0.0.1:0"))(t)
	defer l.Close()
	c := testkit.Must(net.Dial("tcp4", l.Addr().String()))(t)
	defer c.Close()
	busy := netip.MustParseAddrPort(c.LocalAddr().String())
	free := testkit.Must(net.Listen("tcp4", "127.0.0.2:0"))(t)
	server := netip.MustParseAddrPort(free.Addr().String())
	testkit.Check(t, free.Close())
	for _, ends := range [][2]netip.AddrPort{{server, busy}, {busy, server}} {
		s := &record.InetSock{Domain: unix.AF_INET, Kind: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP, Pair: 2, PairDomain: unix.AF_INET,
			Local: recordAddr(ends[0], unix.AF_INET), Peer: recordAddr(ends[1], unix.AF_INET)}
		ours, theirs, err := connectBoth(s)
		if err != nil {
			t.Fatalf("%v: %v", ends, err)
		}
		for _, e := range []struct {
			fd   int
			want netip.AddrPort
		}{{ours, ends[0]}, {theirs, ends[1]}} {
			at := testkit.Must(unix.Getsockname(e.fd))(t)
			if got := addrPort(addrOf(e.fd, at)); got != e.want {
				t.Errorf("%v, want %v", got, e.want)
			}
		}
		testkit.Check(t, sendAll(ours, []byte("hello"), true))
		buf := make([]byte, 5)
		if n, err := unix.Read(theirs, buf); n != 5 || string(buf) != "hello" {
			t.Errorf("%d %q %v", n, buf, err)
		}
		abort := unix.Linger{Onoff: 1}
		for _, fd := range []int{ours, theirs} {
			testkit.Check(t, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &abort))
			testkit.Check(t, unix.Close(fd))
		}
	}
}

package sys

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// TestListInet: a listener, both ends of a connection and a datagram socket that was
// shut down are listed as what they are.
func TestListInet(t *testing.T) {
	tcp, udp := inet(t, unix.SOCK_STREAM), inet(t, unix.SOCK_DGRAM)
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(client)
	at, err := unix.Getsockname(tcp)
	if err := errors.Join(err, unix.Listen(tcp, 5)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(client, at); err != nil {
		t.Fatal(err)
	}
	if err := unix.Shutdown(udp, unix.SHUT_RD); err != unix.ENOTCONN { // and yet it is shut down
		t.Fatal(err)
	}
	find := func(protocol, fd int) *InetSocket {
		t.Helper()
		list, err := ListInet(protocol)
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			if list[i].Ino == inode(t, fd) {
				return &list[i]
			}
		}
		t.Fatalf("socket %d is not in the list", fd)
		return nil
	}
	here := netip.MustParseAddr("127.0.0.1")
	listening, connected, shut := find(unix.IPPROTO_TCP, tcp), find(unix.IPPROTO_TCP, client), find(unix.IPPROTO_UDP, udp)
	if listening.State != TCPListen || listening.Local.Addr() != here {
		t.Errorf("%+v", listening)
	}
	if connected.State != TCPEstablished || connected.Peer != listening.Local || connected.Local.Addr() != here {
		t.Errorf("%+v", connected)
	}
	if shut.State != TCPClose || shut.Shutdown != 1 {
		t.Errorf("%+v", shut)
	}
}

func inet(t *testing.T, kind int) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	return fd
}

func FuzzParseInetList(f *testing.F) {
	f.Add(idiagRequest(unix.AF_INET, unix.IPPROTO_TCP))
	f.Fuzz(func(_ *testing.T, b []byte) {
		var list []InetSocket
		parseInetList(b, &list)
	})
}

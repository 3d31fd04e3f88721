package repair

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/nft"
	"ckpt/internal/testkit"
)

// target is one end of a connection over the loopback interface, as a program has it, and
// the other end.
type target struct {
	t     *testing.T
	fd    int
	peer  net.Conn
	local unix.Sockaddr
	to    unix.Sockaddr
	flow  nft.Flow
}

func newTarget(t *testing.T, at string) *target {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to := l.Addr().(*net.TCPAddr)
	c := &target{t: t}
	domain := unix.AF_INET6
	c.to = &unix.SockaddrInet6{Port: to.Port, Addr: [16]byte(to.IP.To16())}
	if ip := to.IP.To4(); ip != nil {
		domain, c.to = unix.AF_INET, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(ip)}
	}
	c.fd = socket(t, domain)
	if err := unix.Connect(c.fd, c.to); err != nil {
		t.Fatal(err)
	}
	if c.peer, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.peer.Close() })
	if c.local, err = unix.Getsockname(c.fd); err != nil {
		t.Fatal(err)
	}
	c.flow = nft.Flow{Local: addrPort(c.local), Peer: addrPort(c.to)}
	return c
}

func (c *target) connected() bool {
	_, err := flowOf(c.fd)
	return err == nil
}

func socket(t *testing.T, domain int) int {
	t.Helper()
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func (c *target) dup() int {
	fd, err := unix.FcntlInt(uintptr(c.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	return fd
}

func (c *target) write(s string) {
	c.t.Helper()
	if err := Send(c.fd, []byte(s), len(s)); err != nil {
		c.t.Fatal(err)
	}
}

// reads compares what a program finds next in the connection.
func (c *target) reads(want string) {
	c.t.Helper()
	b := make([]byte, len(want))
	p := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
	for n := 0; n < len(b); {
		if ready, err := unix.Poll(p, 60000); err != nil && err != unix.EINTR || ready == 0 {
			c.t.Fatalf("it gets nothing after %q (%v)", b[:n], err)
		}
		m, _, err := unix.Recvfrom(c.fd, b[n:], 0)
		if err != nil || m == 0 {
			c.t.Fatalf("it gets %q, and then %v", b[:n], err)
		}
		n += m
	}
	if string(b) != want {
		c.t.Fatalf("it gets %q, not %q", b, want)
	}
}

func (c *target) peerReads(want string) {
	c.t.Helper()
	_ = c.peer.SetReadDeadline(time.Now().Add(time.Minute))
	b := make([]byte, len(want))
	if n, err := io.ReadFull(c.peer, b); err != nil || string(b) != want {
		c.t.Fatalf("the other side gets %q (%v), not %q", b[:n], err, want)
	}
}

func (c *target) peerWrites(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.peer, s); err != nil {
		c.t.Fatal(err)
	}
}

// arrived waits until so many bytes can be read.
func (c *target) arrived(n int) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if has, err := unix.IoctlGetInt(c.fd, unix.SIOCINQ); err != nil || has == n {
			return
		}
		if time.Now().After(end) {
			c.t.Fatal("nothing arrives")
		}
	}
}

func start(t *testing.T, c *target) *Keeper {
	t.Helper()
	k, err := Start([]nft.Flow{c.flow})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}

// read reads one connection.
func read(k *Keeper, fd int) (s *Snapshot, err error) {
	rerr := k.Reading(func() error {
		s, err = k.Read(fd)
		return err
	})
	return s, rerr
}

// remake makes the socket anew.
func (c *target) remake(s *Snapshot, name string) {
	c.t.Helper()
	domain := unix.AF_INET
	if _, is := c.local.(*unix.SockaddrInet6); is {
		domain = unix.AF_INET6
	}
	c.fd = socket(c.t, domain)
	err := Begin(c.fd, &s.TCPRepair, name == "ended")
	if err == nil {
		err = errors.Join(unix.Bind(c.fd, c.local), unix.Connect(c.fd, c.to))
	}
	if err == nil {
		err = errors.Join(Agree(c.fd, &s.TCPRepair), Refill(c.fd, RecvQueue, s.Recv), Refill(c.fd, SendQueue, s.Send), FIN(c.fd, name == "ended"), Window(c.fd, &s.TCPRepair))
	}
	if err != nil {
		c.t.Fatal(err)
	}
	clamp := testkit.Must(unix.GetsockoptInt(c.fd, unix.SOL_TCP, unix.TCP_WINDOW_CLAMP))(c.t)
	if clamp != s.Clamp {
		c.t.Errorf("TCP_WINDOW_CLAMP is %d, not %d", clamp, s.Clamp)
	}
	testkit.Check(c.t, Off(c.fd, 0))
	if mss := testkit.Must(unix.GetsockoptInt(c.fd, unix.SOL_TCP, unix.TCP_MAXSEG))(c.t); mss < s.MSS-40 {
		c.t.Errorf("packets of %d bytes go out, where the other side takes %d", mss, s.MSS)
	}
	now, err := take(c.fd)
	if err != nil {
		c.t.Fatal(err)
	}
	now.Recv = make([]byte, now.Received)
	testkit.Check(c.t, peek(c.fd, now.Recv))
	if !bytes.Equal(now.Recv, s.Recv) || !bytes.Equal(now.Send, s.Send) || now.SendNext != s.SendNext || now.RecvNext != s.RecvNext ||
		now.MSS != s.MSS || now.SendScale != s.SendScale || now.RecvScale != s.RecvScale || now.SACK != s.SACK || now.Stamps != s.Stamps || now.SendWnd != s.SendWnd || now.RecvWnd != s.RecvWnd {
		c.t.Errorf("it is\n%+v, not\n%+v", now, s)
	}
}

// soon waits for something.
func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

package repair

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/nft"
	"ckpt/internal/testkit"
)

func TestMain(m *testing.M) {
	if os.Args[0] == GuardName {
		os.Exit(Guard())
	}
	if how := os.Getenv(makerEnv); how != "" {
		if err := beMaker(how); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// The test binary, run with this, is the maker of a guard: it has a socket of the target,
// which is not it, as descriptor 3, and dies.
const makerEnv = "CKPT_TEST_MAKER"

func beMaker(how string) error {
	const fd = 3
	flow, err := flowOf(fd)
	if err != nil {
		return err
	}
	k, err := Start([]nft.Flow{flow})
	if err != nil {
		return err
	}
	err = k.Reading(func() error {
		if how == "reading" { // and dead before there is an answer
			return errors.Join(k.say([]byte{sayRead}, fd), unix.Kill(os.Getpid(), unix.SIGKILL))
		}
		_, err := k.Read(fd)
		return err
	})
	if err != nil {
		return err
	}
	pid, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "1000"}, nil)
	err = errors.Join(err, k.Arm(pid, &Hold{"ckpt-lasting", "of a test", time.Hour}))
	if how == "target dead" {
		err = errors.Join(err, unix.Kill(pid, unix.SIGKILL))
	} else {
		fmt.Println(pid)
	}
	if err != nil {
		return err
	}
	return unix.Kill(os.Getpid(), unix.SIGKILL)
}

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

// TestGoesOn: after it was read, a connection goes on as if nothing had been.
func TestGoesOn(t *testing.T) {
	for _, end := range []string{"closed", "guard killed"} {
		t.Run(end, func(t *testing.T) {
			testkit.InNetwork(t)
			c := newTarget(t, "127.0.0.1:0")
			if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
				t.Fatal(err)
			}
			c.peerWrites("unread")
			c.arrived(6)
			k := start(t, c)
			c.write("unsent")
			c.peerWrites("later")
			s, err := read(k, c.dup())
			if err != nil {
				t.Fatal(err)
			}
			if string(s.Recv) != "unread" || string(s.Send) != "unsent" || s.Sent+s.Unsent != 6 {
				t.Errorf("%q %q %+v", s.Recv, s.Send, s.TCPRepair)
			}
			if reuse, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR); Is(c.fd) || reuse != 1 {
				t.Errorf("in repair: %v, SO_REUSEADDR is %d (%v)", Is(c.fd), reuse, err)
			}
			if end != "closed" {
				pid := guardOf(t)
				if err := unix.Kill(pid, unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
				<-k.Over()
				if _, err := read(k, c.dup()); !errors.Is(err, ErrGuard) {
					t.Errorf("without a guard: %v", err)
				}
				if err := k.Arm(os.Getpid(), &Hold{}); !errors.Is(err, ErrGuard) {
					t.Errorf("without a guard: %v", err)
				}
			}
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
			c.peerReads("unsent")
			c.reads("unreadlater")
		})
	}
}

// guardOf returns the process id of our guard.
func guardOf(t *testing.T) int {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		dirs, _ := os.ReadDir("/proc")
		for _, d := range dirs {
			b, _ := os.ReadFile("/proc/" + d.Name() + "/stat")
			var pid, ppid int
			var comm, state string
			if n, _ := fmt.Sscan(string(b), &pid, &comm, &state, &ppid); n == 4 && ppid == os.Getpid() && comm == "("+GuardName+")" {
				return pid
			}
		}
	}
	t.Fatal("there is no guard")
	return 0
}

// TestAgain: what was read is made again, with both queues, and the other side notices
// nothing.
func TestAgain(t *testing.T) {
	for _, c := range []struct {
		name, at string
		change   func(c *target)
	}{
		{"idle", "127.0.0.1:0", func(*target) {}},
		{"IPv6", "[::1]:0", func(*target) {}},
		{"peer ended", "127.0.0.1:0", func(c *target) {
			_ = c.peer.(*net.TCPConn).CloseWrite()
			p := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLRDHUP}}
			_, _ = unix.Poll(p, 60000)
		}},
		{"ended", "127.0.0.1:0", func(c *target) { _ = unix.Shutdown(c.fd, unix.SHUT_WR) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			testkit.InNetwork(t)
			x := newTarget(t, c.at)
			x.write("answered")
			x.peerReads("answered")
			x.peerWrites("unread")
			x.arrived(6)
			c.change(x)
			again(t, x, c.name)
		})
	}
}

func again(t *testing.T, x *target, name string) {
	t.Helper()
	k := start(t, x)
	if name != "ended" {
		x.write("on its way")
	}
	if name != "peer ended" {
		x.peerWrites("while away")
	}
	s, err := read(k, x.dup())
	if err != nil {
		t.Fatal(err)
	}
	h := &Hold{"ckpt-lasting", "of a test", time.Hour}
	cmd, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "1000"}, nil) // somebody to die
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(k.Arm(cmd, h), unix.Kill(cmd, unix.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	_, _ = unix.Wait4(cmd, nil, 0, nil)
	if n, err := k.Bury(h); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if x.connected() {
		t.Error("the connection is not ended")
	}
	unix.Close(x.fd)
	x.remake(s, name)
	tables, err := nft.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer tables.Close()
	if flows, ok, err := tables.Held("ckpt-lasting"); !ok || err != nil || len(flows) != 1 || flows[0] != x.flow {
		t.Errorf("held are %v: %v %v", flows, ok, err)
	}
	if err := errors.Join(Off(x.fd, 0), tables.Delete("ckpt-lasting")); err != nil {
		t.Fatal(err)
	}
	x.reads("unread")
	if name != "peer ended" {
		x.reads("while away")
		x.peerWrites("and more")
		x.reads("and more")
	}
	if name != "ended" {
		x.write(", and more")
		x.peerReads("on its way, and more")
	}
	unix.Close(x.fd)
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

// TestMakerDies: the guard leaves the socket of a living target as it was, and does for one
// that is dead what was to be done.
func TestMakerDies(t *testing.T) {
	for _, how := range []string{"reading", "target lives", "target dead"} {
		t.Run(how, func(t *testing.T) {
			testkit.InNetwork(t)
			c := newTarget(t, "127.0.0.1:0")
			if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{makerEnv + "=" + how}
			cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(c.dup()), "socket")}
			out, _ := cmd.Output()
			cmd.ExtraFiles[0].Close()
			if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() {
				t.Fatalf("it says: %s", out)
			}
			if pid, err := strconv.Atoi(strings.TrimSpace(string(out))); err == nil {
				defer unix.Kill(pid, unix.SIGKILL)
			}
			tables, err := nft.Dial()
			if err != nil {
				t.Fatal(err)
			}
			defer tables.Close()
			if how == "target dead" {
				soon(t, "it is not held", func() bool { flows, _, _ := tables.Held("ckpt-lasting"); return len(flows) == 1 && !c.connected() })
				return
			}
			c.peerWrites("from there")
			c.write("from here")
			c.reads("from there") // it is let through when the guard has ended
			c.peerReads("from here")
			if reuse, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR); Is(c.fd) || reuse != 1 {
				t.Errorf("in repair: %v, SO_REUSEADDR is %d (%v)", Is(c.fd), reuse, err)
			}
			if _, there, err := tables.Held("ckpt-lasting"); there || err != nil {
				t.Errorf("the lasting table is there: %v", err)
			}
		})
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

// TestCheckTables: a guard changes no tables but ours.
func TestCheckTables(t *testing.T) {
	good := lasting{Own: "ckpt-hold-1", Table: "ckpt-2", TimeoutNS: 1}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	for _, change := range []func(*lasting){
		func(l *lasting) { l.Own = "filter" }, func(l *lasting) { l.Own = "ckpt-2" }, func(l *lasting) { l.Table = "filter" },
		func(l *lasting) { l.TimeoutNS = 0 }, func(l *lasting) { l.Comment = strings.Repeat("x", 300) },
	} {
		l := good
		if change(&l); l.check() == nil {
			t.Errorf("%+v passes", l)
		}
	}
}

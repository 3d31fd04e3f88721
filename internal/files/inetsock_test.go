package files

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/object"
	"ckpt/internal/sys"
	"ckpt/internal/testkit"
	"ckpt/stream"
	"ckpt/stream/record"
)

// TestJudgeInetSock: sockets of a stream that can't be.
func TestJudgeInetSock(t *testing.T) {
	four, six := []byte{127, 0, 0, 1}, make([]byte, 16)
	at := func(ip []byte, port int) *record.InetAddr { return &record.InetAddr{IP: ip, Port: port} }
	tcp := func(change func(*record.InetSock)) *record.InetSock {
		s := &record.InetSock{Ino: 5, Domain: unix.AF_INET, Kind: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP, State: sys.TCPEstablished, Local: at(four, 5), Peer: at(four, 6)}
		change(s)
		return s
	}
	if err := judgeInetSock(tcp(func(*record.InetSock) {})); err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(*record.InetSock){
		func(s *record.InetSock) { s.Domain = unix.AF_UNIX },
		func(s *record.InetSock) { s.Kind = unix.SOCK_DGRAM },
		func(s *record.InetSock) { s.Protocol = unix.IPPROTO_UDP },
		func(s *record.InetSock) { s.Protocol = 132 },
		func(s *record.InetSock) { s.Kind, s.Protocol, s.State, s.Peer = unix.SOCK_RAW, 256, sys.TCPClose, nil },
		func(s *record.InetSock) { s.Kind, s.Protocol = unix.SOCK_RAW, -1 },
		func(s *record.InetSock) { s.Kind, s.Protocol = unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6 },
		func(s *record.InetSock) { s.State = 0 },
		func(s *record.InetSock) { s.State = 12 },
		func(s *record.InetSock) { s.State = sys.TCPTimeWait },
		func(s *record.InetSock) { s.Peer = nil },
		func(s *record.InetSock) { s.Local = nil },
		func(s *record.InetSock) { s.State = sys.TCPSynSent; s.Peer = nil },
		func(s *record.InetSock) { s.State = sys.TCPListen; s.Local = nil },
		func(s *record.InetSock) { s.State = sys.TCPListen; s.Local.Port = 0 },
		func(s *record.InetSock) { s.Backlog = -1 },
		func(s *record.InetSock) { s.Waiting = -1 },
		func(s *record.InetSock) { s.Shutdown = 4 },
		func(s *record.InetSock) { s.Ended = true },
		func(s *record.InetSock) { s.Failed = true },
		func(s *record.InetSock) { s.Pair = 7 },
		func(s *record.InetSock) { s.PairDomain = unix.AF_INET },
		func(s *record.InetSock) { s.Pair, s.PairDomain = 7, unix.AF_UNIX },
		func(s *record.InetSock) { s.Pair, s.PairDomain = s.Ino, unix.AF_INET },
		func(s *record.InetSock) { s.Pair, s.PairDomain, s.Peer.Port = 7, unix.AF_INET, s.Local.Port },
		func(s *record.InetSock) { s.Pair, s.PairDomain, s.Protocol = 7, unix.AF_INET, protoMPTCP },
		func(s *record.InetSock) { s.Pair, s.PairDomain, s.State = 7, unix.AF_INET, sys.TCPListen },
		func(s *record.InetSock) { s.Members = []record.Membership{{Group: []byte{224, 0, 0, 5}}} }, // of TCP
		func(s *record.InetSock) { s.Local.IP = nil },
		func(s *record.InetSock) { s.Local = at(six, 5) },
		func(s *record.InetSock) { s.Peer = at(six, 5) },
		func(s *record.InetSock) { s.Domain = unix.AF_INET6 },
		func(s *record.InetSock) { s.Local.Port = 65536 },
		func(s *record.InetSock) { s.Unread = -1 },
		func(s *record.InetSock) { s.Unread = maxSockBytes + 1 },
		func(s *record.InetSock) { s.Local.Port = -1 },
		func(s *record.InetSock) { s.Local.Scope = 1 },
		func(s *record.InetSock) { s.Local.Device = "lo" },
		func(s *record.InetSock) {
			s.Domain, s.Local, s.Peer = unix.AF_INET6, at(six, 5), at(six, 6)
			s.Local.Device = "an interface's name"
		},
	} {
		if err := judgeInetSock(tcp(change)); !errors.Is(err, stream.ErrCorrupt) {
			t.Errorf("change %d: %v", i, err)
		}
	}
	repair := func(change func(*record.TCPRepair)) func(*record.InetSock) {
		return func(s *record.InetSock) {
			s.Repair = &record.TCPRepair{Sent: 5, Unsent: 5, Received: 5, MSS: 1460, SendScale: 14, RecvScale: 14, Stamp: 1<<32 - 1, SendBuf: 1 << 20, RecvBuf: 1 << 20}
			change(s.Repair)
		}
	}
	if err := judgeInetSock(tcp(repair(func(*record.TCPRepair) {}))); err != nil {
		t.Error(err)
	}
	for i, change := range []func(*record.TCPRepair){
		func(r *record.TCPRepair) { r.Sent = -1 },
		func(r *record.TCPRepair) { r.Unsent = -1 },
		func(r *record.TCPRepair) { r.Received = -1 },
		func(r *record.TCPRepair) { r.Received = maxSockBytes + 1 },
		func(r *record.TCPRepair) { r.Sent, r.Unsent = 1<<62, 1<<62 },
		func(r *record.TCPRepair) { r.Sent, r.Unsent = maxSockBytes, 1 },
		func(r *record.TCPRepair) { r.MSS = 1 << 16 },
		func(r *record.TCPRepair) { r.MSS = -1 },
		func(r *record.TCPRepair) { r.SendScale = 15 },
		func(r *record.TCPRepair) { r.RecvScale = -1 },
		func(r *record.TCPRepair) { r.Stamp = 1 << 32 },
		func(r *record.TCPRepair) { r.SendBuf = -1 },
		func(r *record.TCPRepair) { r.RecvBuf = 1<<30 + 1 },
	} {
		if err := judgeInetSock(tcp(repair(change))); !errors.Is(err, stream.ErrCorrupt) {
			t.Errorf("change %d of what it takes to go on: %v", i, err)
		}
	}
	for _, state := range []int{sys.TCPListen, sys.TCPSynSent, sys.TCPSynRecv, sys.TCPClose} {
		s := tcp(repair(func(*record.TCPRepair) {}))
		if s.State = state; !errors.Is(judgeInetSock(s), stream.ErrCorrupt) {
			t.Errorf("one in state %d can go on", state)
		}
	}
	udp := &record.InetSock{Domain: unix.AF_INET, Kind: unix.SOCK_DGRAM, Protocol: unix.IPPROTO_UDP, State: sys.TCPEstablished}
	if err := judgeInetSock(udp); !errors.Is(err, stream.ErrCorrupt) {
		t.Errorf("a UDP socket connected to nobody: %v", err)
	}
	udp.Peer = at(four, 5)
	if err := judgeInetSock(udp); err != nil {
		t.Error(err)
	}
	for _, m := range []record.Membership{{}, {Group: []byte{1, 2, 3}}, {Group: four}, {Group: six}, {Group: append([]byte{255, 2}, six[2:]...)},
		{Group: []byte{224, 0, 0, 5}, Sources: [][]byte{six}}, {Group: []byte{224, 0, 0, 5}, Sources: make([][]byte, maxSources+1)}, {Group: []byte{224, 0, 0, 5}, Device: "an interface's name"}} {
		udp.Members = []record.Membership{m}
		if err := judgeInetSock(udp); !errors.Is(err, stream.ErrCorrupt) {
			t.Errorf("%+v: %v", m, err)
		}
	}
	foreign := tcp(func(s *record.InetSock) {
		s.Options = []record.LevelOption{{Level: unix.SOL_UDP, Name: unix.UDP_GRO, Value: 1}}
	})
	if judgeInetSock(foreign) == nil {
		t.Error("an option of UDP passes")
	}
}

// TestLoopbackStranger: somebody else who connects to the listener first is not taken
// for the other end.
func TestLoopbackStranger(t *testing.T) {
	listening, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(listening)
	if err := errors.Join(unix.Bind(listening, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(listening, 8)); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(listening)
	if err != nil {
		t.Fatal(err)
	}
	var fds []int
	for _, flags := range []int{0, unix.SOCK_NONBLOCK} {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		fds = append(fds, fd)
	}
	if err := unix.Connect(fds[0], at); err != nil {
		t.Fatal(err)
	}
	theirs, err := join(listening, fds[1], true)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(theirs)
	peer, err := unix.Getpeername(theirs)
	self, serr := unix.Getsockname(fds[1])
	if err := errors.Join(err, serr); err != nil || address(peer) != address(self) {
		t.Errorf("it is connected to %s, not to %s (%v)", address(peer), address(self), err)
	}
}

// TestGoneAtOnce: a connection without bytes to read is complete when it is made, with one
// descriptor of ours; another takes as many bytes as its record says.
func TestGoneAtOnce(t *testing.T) {
	for _, unread := range []int64{0, 5} {
		m := &inetMaker{Restorer: fuzzed(t, true), listeners: map[int]*depot.File{}}
		s := &record.InetSock{Object: record.Object{Objref: 1}, Domain: unix.AF_INET, Kind: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP, State: sys.TCPEstablished,
			Local: &record.InetAddr{IP: []byte{127, 0, 0, 1}, Port: 5}, Peer: &record.InetAddr{IP: []byte{127, 0, 0, 1}, Port: 6}, Unread: unread}
		obj, err := m.make(&stream.Record{Type: record.TypeInetSock, Meta: testkit.Must(stream.Marshal(s))(t)})
		if err != nil {
			t.Fatal(err)
		}
		sock := obj.(*inetSock)
		if (sock.other != nil) != (unread > 0) {
			t.Errorf("%d bytes to read, other end %v", unread, sock.other)
		}
		fill := func(n int) error {
			return sock.Fill(&stream.Record{Type: record.TypeSockData, DataLen: int64(n)}, strings.NewReader("hello"[:n]))
		}
		if unread > 0 {
			testkit.Check(t, fill(5))
		}
		if err := fill(1); !errors.Is(err, stream.ErrCorrupt) {
			t.Errorf("one byte more than %d: %v", unread, err)
		}
		sock.kept = unread
		testkit.Check(t, sock.Complete())
		fd := testkit.Must(sock.f.Fd())(t)
		buf := make([]byte, 8)
		if n, err := unix.Read(fd, buf); int64(max(n, 0)) != unread || unread == 0 && err != unix.ECONNRESET {
			t.Errorf("%d bytes, %v, want %d", n, err, unread)
		}
		testkit.Check(t, obj.Close())
	}
}

// TestSettleOrder: SO_REUSEADDR is taken back when the last socket of a restart has
// committed, and not before.
func TestSettleOrder(t *testing.T) {
	r := fuzzed(t, true)
	m := &inetMaker{Restorer: r}
	var socks []*inetSock
	for i := range 2 {
		s := &record.InetSock{Object: record.Object{Objref: uint64(i + 1)}, Domain: unix.AF_INET, Kind: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP, State: sys.TCPListen,
			Local: &record.InetAddr{IP: []byte{127, 0, 0, byte(i + 1)}, Port: 0}}
		b, err := stream.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		obj, err := m.make(&stream.Record{Type: record.TypeInetSock, Meta: b})
		if err != nil {
			t.Fatal(err)
		}
		defer obj.Close()
		socks = append(socks, obj.(*inetSock))
	}
	reuse := func() (list []int) {
		for _, s := range socks {
			fd, err := s.f.Fd()
			if err != nil {
				t.Fatal(err)
			}
			v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, v)
		}
		return list
	}
	if err := socks[0].Commit(); err != nil || !slices.Equal(reuse(), []int{1, 1}) {
		t.Errorf("%v %v", reuse(), err)
	}
	if err := socks[1].Commit(); err != nil || !slices.Equal(reuse(), []int{0, 0}) {
		t.Errorf("%v %v", reuse(), err)
	}
}

// collected describes descriptors of this process as ckpt-collect does, and returns the
// records of IP sockets. between is called when they were read ahead.
func collected(t *testing.T, between func(), subjects ...*Subject) (recs []*record.InetSock) {
	t.Helper()
	ids := uint64(0)
	c := &Collector{InTree: func(id int) bool { return id == os.Getpid() }, NewID: func() uint64 { ids++; return ids }}
	c.Block = func(_ int, reason error) { t.Error(reason) }
	c.Emit = func(_ record.Type, meta any) error { recs = append(recs, meta.(*record.InetSock)); return nil }
	s := inetSockKind.Save(c)
	for _, sub := range subjects {
		sub.getter = &c.getter
		s.Look(sub)
	}
	s.Ahead(subjects)
	between()
	for _, sub := range subjects {
		if s.Match(sub) {
			testkit.Must(s.Collect(sub))(t)
		}
	}
	testkit.Check(t, c.Close())
	return recs
}

func subjectOf(t *testing.T, fd int) *Subject {
	t.Helper()
	return testkit.Must((&Collector{}).subject(os.Getpid(), fd, fmt.Sprintf("/proc/self/fd/%d", fd)))(t)
}

// TestSameNumber: an O_PATH descriptor of a socket's file whose number is that of a socket,
// or of that socket itself, is not taken for it.
func TestSameNumber(t *testing.T) {
	udp := testkit.Must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))(t)
	defer unix.Close(udp)
	path := filepath.Join(t.TempDir(), "s")
	testkit.Check(t, unix.Mknod(path, unix.S_IFSOCK|0o600, 0))
	for _, path := range []string{path, fmt.Sprintf("/proc/self/fd/%d", udp)} {
		fd := testkit.Must(unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0))(t)
		defer unix.Close(fd)
		file, sock := subjectOf(t, fd), subjectOf(t, udp)
		file.Stat.Ino = sock.Stat.Ino // numbers of a tmpfs can be counted up to it
		recs := collected(t, func() {}, file, sock)
		if len(recs) != 1 || recs[0].Kind != unix.SOCK_DGRAM {
			t.Errorf("%s: %+v", path, recs)
		}
	}
}

// TestReadLater: a socket whose type can't be asked for when sockets are read ahead is read
// when it is described.
func TestReadLater(t *testing.T) {
	udp := testkit.Must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))(t)
	defer unix.Close(udp)
	sock, number := subjectOf(t, udp), udp
	sock.FD = 1<<20 - 1
	recs := collected(t, func() { sock.FD = number }, sock)
	if len(recs) != 1 || recs[0].Kind != unix.SOCK_DGRAM {
		t.Errorf("%+v", recs)
	}
}

// TestEndedMeanwhile: what comes between the reading of a connection's options and of its
// bytes ends it, and is not saved as a connection that is still open.
func TestEndedMeanwhile(t *testing.T) {
	l := testkit.Must(net.Listen("tcp4", "127.0.0.1:0"))(t)
	defer l.Close()
	fd := testkit.Must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
	defer unix.Close(fd)
	testkit.Check(t, unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: l.Addr().(*net.TCPAddr).Port}))
	other := testkit.Must(l.Accept())(t)
	defer other.Close()
	recs := collected(t, func() {
		testkit.Must(other.Write([]byte("hello")))(t)
		testkit.Check(t, other.(*net.TCPConn).CloseWrite())
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		if n, err := unix.Poll(p, 60_000); n != 1 {
			t.Fatalf("the end does not come: %v", err)
		}
	}, subjectOf(t, fd))
	if len(recs) != 1 || recs[0].State != sys.TCPCloseWait || recs[0].Unread != 5 {
		t.Errorf("%+v, want one in state %d with 5 bytes", recs, sys.TCPCloseWait)
	}
}

// TestPairOfStrangers: two ends of a stream that are not those of one connection, and an
// end without another.
func TestPairOfStrangers(t *testing.T) {
	at := func(port int) *record.InetAddr { return &record.InetAddr{IP: []byte{127, 0, 0, 1}, Port: port} }
	end := func(ino, pair uint64, local, peer int) *record.InetSock {
		return &record.InetSock{Object: record.Object{Objref: ino}, Ino: ino, Pair: pair, PairDomain: unix.AF_INET, Domain: unix.AF_INET, Kind: unix.SOCK_STREAM,
			Protocol: unix.IPPROTO_TCP, State: sys.TCPEstablished, Local: at(local), Peer: at(peer)}
	}
	a, b := freePort(t), freePort(t)
	for name, second := range map[string]*record.InetSock{
		"another pair": end(6, 7, b, a), "another address": end(6, 5, b, a%60000+1), "another family": func() *record.InetSock { s := end(6, 5, b, a); s.PairDomain = unix.AF_INET6; return s }(), "none": nil, "the other": end(6, 5, b, a),
	} {
		t.Run(name, func(t *testing.T) {
			m := &inetMaker{Restorer: fuzzed(t, true), alone: map[uint64]*inetSock{}}
			var err error
			var made []object.Object
			for _, s := range []*record.InetSock{end(5, 6, a, b), second} {
				if s == nil {
					continue
				}
				if err = judgeInetSock(s); err != nil {
					t.Fatal(err)
				}
				meta, merr := stream.Marshal(s)
				if merr != nil {
					t.Fatal(merr)
				}
				obj, merr := m.make(&stream.Record{Type: record.TypeInetSock, Meta: meta})
				if err = merr; err == nil {
					made = append(made, obj)
				}
			}
			if second == nil {
				err = made[0].Complete()
			}
			if name == "the other" {
				err = errors.Join(err, made[0].Complete(), made[1].Complete())
			}
			for _, obj := range made { // of a failed restart nothing may be left, or the next finds the addresses in use
				fd, ferr := obj.(*inetSock).f.Fd()
				if ferr == nil {
					ferr = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
				}
				if err := errors.Join(ferr, obj.Close()); err != nil {
					t.Error(err)
				}
			}
			if (name == "the other") != (err == nil) || err != nil && !errors.Is(err, stream.ErrCorrupt) {
				t.Error(err)
			}
		})
	}
}

// freePort returns a port that nobody has.
func freePort(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	self, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return addrOf(fd, self).Port
}

func TestInWords(t *testing.T) {
	for d, want := range map[time.Duration]string{15 * time.Minute: "15m", time.Hour: "1h", 90 * time.Second: "1m30s", 10 * time.Second: "10s", 70 * time.Minute: "1h10m", 10 * time.Minute: "10m", time.Hour + 5*time.Second: "1h0m5s", 300 * time.Millisecond: "300ms"} {
		if got := inWords(d); got != want {
			t.Errorf("%v is %q, not %q", d, got, want)
		}
	}
}

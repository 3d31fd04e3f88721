package files

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/object"
	"ckpt/internal/objhash"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// socketPair returns both ends.
func socketPair(t *testing.T, typ int) (fds [2]int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds
}

func queueOf(t *testing.T, fd int) (*queue, error) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	d, err := sys.QueryUnix(st.Ino)
	if err != nil {
		t.Fatal(err)
	}
	return peekQueue(fd, d, new(sys.UnixTable), func(int) (func() error, error) { return func() error { return nil }, nil })
}

// TestPeekQueue: what is seen is what is read afterwards, and SO_PEEK_OFF is
// unchanged.
func TestPeekQueue(t *testing.T) {
	long := strings.Repeat("0123456789", 10_000) // more than the first buffer
	for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET} {
		for _, off := range []int{-1, 0, 3} {
			for _, messages := range [][]string{nil, {"a"}, {"one", "", "three"}, {"x", long, "y", ""}, {""}} {
				t.Run(fmt.Sprintf("type %d, offset %d, %d messages", typ, off, len(messages)), func(t *testing.T) {
					p := socketPair(t, typ)
					if err := unix.SetsockoptInt(p[0], unix.SOL_SOCKET, unix.SO_PEEK_OFF, off); err != nil {
						t.Fatal(err)
					}
					var want queue
					for _, m := range messages {
						if err := sendAll(p[1], []byte(m), typ == unix.SOCK_STREAM); err != nil {
							t.Fatal(err)
						}
						want.data = append(want.data, m...)
						if typ != unix.SOCK_STREAM {
							want.messages = append(want.messages, int64(len(m)))
						}
					}
					q, err := queueOf(t, p[0])
					if err != nil || !bytes.Equal(q.data, want.data) || !reflect.DeepEqual(q.messages, want.messages) {
						t.Errorf("%d bytes, messages of %v, %v; want %d, %v", len(q.data), q.messages, err, len(want.data), want.messages)
					}
					if now, err := unix.GetsockoptInt(p[0], unix.SOL_SOCKET, unix.SO_PEEK_OFF); err != nil || now != off {
						t.Errorf("SO_PEEK_OFF is %d, %v", now, err)
					}
					for i, m := range want.messages {
						if n, _, err := unix.Recvfrom(p[0], make([]byte, m+1), unix.MSG_DONTWAIT); err != nil || int64(n) != m {
							t.Errorf("message %d read: %d bytes, %v; want %d", i, n, err, m)
						}
					}
				})
			}
		}
	}
}

// TestPeekInFlight: descriptors in a message are found with the bytes they were sent with,
// and no others stay open here.
func TestPeekInFlight(t *testing.T) {
	open := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET} {
		p := socketPair(t, typ)
		send := func(what string, fds ...int) {
			var control []byte
			if len(fds) > 0 {
				control = unix.UnixRights(fds...)
			}
			if err := unix.Sendmsg(p[1], []byte(what), control, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		send("three", 0, 1, 2)
		send("one", 0)
		send("after")
		before := open()
		q, err := queueOf(t, p[0])
		if err != nil || string(q.data) != "threeoneafter" {
			t.Fatalf("type %d: %+v %v", typ, q, err)
		}
		want := []rights{{at: 0}, {at: 1}}
		if typ == unix.SOCK_STREAM {
			want = []rights{{at: 0, n: 5}, {at: 5, n: 3}}
		}
		for i, r := range q.rights {
			if i >= len(want) || r.at != want[i].at || r.n != want[i].n || len(r.fds) != 3-2*i {
				t.Errorf("type %d: %+v", typ, r)
			}
			closeAll(r.fds)
		}
		if after := open(); after != before || len(q.rights) != 2 {
			t.Errorf("type %d: %d descriptors were open, and %d are; %+v", typ, before, after, q.rights)
		}
		send("more", 0)
		if q, err = queueOf(t, p[0]); typ == unix.SOCK_STREAM != errors.Is(err, errBorders) {
			t.Errorf("type %d: bytes before a descriptor: %v", typ, err)
		}
		for _, r := range q.rights {
			closeAll(r.fds)
		}
	}
}

// holder starts a process that has fds open from 3 on, and waits until it is
// past opening files of its own.
func holder(t *testing.T, fds ...int) int {
	t.Helper()
	cmd := exec.Command("cat")
	for _, fd := range fds {
		n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(n), "shared")
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := in.Write([]byte{'x'}); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// gathered is what a Collector reported.
type gathered struct {
	records []*stream.Record
	blocked []string
	bulk    []Sender
	outside []Outside
}

func gather(t *testing.T, pids ...int) *gathered {
	t.Helper()
	g, last := &gathered{}, uint64(0)
	c := &Collector{
		Emit: func(typ record.Type, meta any) error {
			rec, err := stream.New(typ, meta)
			g.records = append(g.records, rec)
			return err
		},
		NewID:   func() uint64 { last++; return last },
		Looking: func(int, int) {},
		Guard:   func([]byte, uintptr, ...uint64) (func() error, error) { return func() error { return nil }, nil },
		Block:   func(pid int, reason error) { g.blocked = append(g.blocked, fmt.Sprintf("pid %d %v", pid, reason)) },
	}
	var tables [][]*Subject
	for _, pid := range pids {
		subjects, err := c.Look(pid)
		if err != nil {
			t.Fatal(err)
		}
		tables = append(tables, subjects)
	}
	for _, subjects := range tables {
		if err := c.Collect(c.NewID(), subjects); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Settle(); err != nil {
		t.Fatal(err)
	}
	g.bulk = c.Senders()
	for _, o := range c.Outside {
		if strings.HasPrefix(o.Name, "unix:[") {
			g.outside = append(g.outside, o)
		}
	}
	return g
}

// TestPairInTwoProcesses saves a pair of which two processes have one end each,
// and restores it in this process.
func TestPairInTwoProcesses(t *testing.T) {
	p := socketPair(t, unix.SOCK_SEQPACKET)
	for i, m := range []string{"to b", "to a", "", "and more to a"} {
		if err := sendAll(p[min(i, 1)], []byte(m), false); err != nil {
			t.Fatal(err)
		}
	}
	a, b := holder(t, p[0]), holder(t, p[1])
	g := gather(t, a, b)
	if len(g.blocked) != 0 || len(g.outside) != 0 {
		t.Fatalf("both ends: %q, %v", g.blocked, g.outside)
	}
	if g := gather(t, a); len(g.blocked) != 1 || len(g.outside) != 1 || !strings.Contains(g.blocked[0], "with an empty message among others, whose place in the queue the kernel shows only once") {
		t.Errorf("one end alone: %q, %v", g.blocked, g.outside)
	}
	r := newRestart(t)
	socks := restoreSockets(t, r, g)
	if len(socks) != 2 {
		t.Fatalf("%d sockets", len(socks))
	}
	refill(t, r, g)
	for _, u := range socks {
		if err := u.Complete(); err != nil {
			t.Error(err)
		}
	}
	for i, want := range [][]string{{"to a", "", "and more to a"}, {"to b"}} {
		fd, err := socks[i].f.Fd()
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		for _, m := range want {
			if n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT); err != nil || string(buf[:n]) != m {
				t.Errorf("end %d: %q %v, want %q", i, buf[:max(n, 0)], err, m)
			}
		}
		if _, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT); err != unix.EAGAIN {
			t.Errorf("end %d: %v, want nothing more", i, err)
		}
	}
}

// newRestart returns an object.Restart with the kinds of a Restorer.
func newRestart(t *testing.T) *object.Set {
	t.Helper()
	r := &Restorer{Restart: &object.Restart{Depot: newDepot(t), Hash: objhash.New[object.Object]()}}
	return object.NewSet(r.Hash, r.Kinds())
}

// newDepot returns a depot whose files are closed when the test ends.
func newDepot(t *testing.T) *depot.Depot {
	t.Helper()
	d, err := depot.New(func(int) bool { return false }, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func restoreSockets(t *testing.T, r *object.Set, g *gathered) (socks []*unixSock) {
	t.Helper()
	var recs []*stream.Record
	for _, rec := range g.records {
		if rec.Type != record.TypeUnixSock {
			continue
		}
		s, err := decode[record.UnixSock](rec)
		if err == nil {
			err = rec.Set(map[string]any{"objref": s.ID})
		}
		if err := errors.Join(append(r.Check(rec), err)...); err != nil {
			t.Fatal(err)
		}
		recs = append(recs, rec)
	}
	for _, rec := range recs {
		id, err := rec.Uint("objref")
		if err == nil {
			err = r.Make(rec)
		}
		if err != nil {
			t.Fatal(err)
		}
		obj, err := r.Hash.Get(id)
		if err != nil {
			t.Fatal(err)
		}
		socks = append(socks, obj.(*unixSock))
	}
	return socks
}

// refill sends the Collector's data and fills the objects of the restart with it.
func refill(t *testing.T, r *object.Set, g *gathered) {
	t.Helper()
	var b bytes.Buffer
	w := stream.NewWriter(&b)
	err := w.Add(record.TypeHeader, &record.Header{})
	for _, send := range g.bulk {
		err = errors.Join(err, send(w, func() bool { return false }))
	}
	if err := errors.Join(err, w.End(record.End{})); err != nil {
		t.Fatal(err)
	}
	in := stream.NewReader(&b)
	for {
		rec, err := in.Next()
		if err != nil {
			return
		}
		if rec.Type == record.TypeSockData {
			if err := r.Fill(rec, in.Data()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestHalfAPair: an image with one of two ends is refused.
func TestHalfAPair(t *testing.T) {
	r := newRestart(t)
	rec, err := stream.New(record.TypeUnixSock, &record.UnixSock{Object: record.Object{Objref: 1}, Ino: 5, Peer: 6, Kind: unix.SOCK_STREAM})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Check(rec)...); err != nil {
		t.Fatal(err)
	}
	if err := r.Make(rec); !errors.Is(err, stream.ErrCorrupt) {
		t.Error(err)
	}
}

// TestSharedEpoll: what an epoll watches is reported once, even if several
// processes share it, and also if another process has the target.
func TestSharedEpoll(t *testing.T) {
	p := socketPair(t, unix.SOCK_STREAM)
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ep)
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, p[0], &unix.EpollEvent{Events: unix.EPOLLIN, Fd: 77}); err != nil {
		t.Fatal(err)
	}
	a, b := holder(t, ep), holder(t, p[1], p[0], ep)
	g := gather(t, a, b)
	if len(g.blocked) != 0 {
		t.Fatal(g.blocked)
	}
	fileOf := map[[2]int]uint64{}
	var targets []record.EpollTarget
	for _, rec := range g.records {
		switch rec.Type {
		case record.TypeFD:
			fd, _ := decode[record.FD](rec)
			fileOf[[2]int{fd.TID, fd.FD}] = fd.Refs.File
		case record.TypeEpollTarget:
			target, _ := decode[record.EpollTarget](rec)
			targets = append(targets, *target)
		}
	}
	want := []record.EpollTarget{{TID: a, FD: p[0], Events: unix.EPOLLIN | unix.EPOLLERR | unix.EPOLLHUP, Data: 77,
		Refs: record.EpollFileRef{Epoll: fileOf[[2]int{a, 3}], File: fileOf[[2]int{b, 4}]}}}
	if !reflect.DeepEqual(targets, want) {
		t.Errorf("%+v, want %+v", targets, want)
	}
	if g := gather(t, a); len(g.blocked) != 1 || !strings.Contains(g.blocked[0], "fd 3 is an epoll that still watches a file added as descriptor") {
		t.Errorf("%q", g.blocked)
	}
}

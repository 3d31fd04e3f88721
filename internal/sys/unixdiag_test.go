package sys

import (
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func pair(t *testing.T, typ int) (fds [2]int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds
}

func inode(t *testing.T, fd int) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func query(t *testing.T, fd int) UnixSocket {
	t.Helper()
	s, err := QueryUnix(inode(t, fd))
	if err != nil {
		t.Fatal(err)
	}
	return *s
}

func TestQueryUnixPair(t *testing.T) {
	for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET} {
		p := pair(t, typ)
		want := UnixSocket{Ino: inode(t, p[0]), Type: typ, State: UnixConnected, HasPeer: true, Peer: inode(t, p[1])}
		if got := query(t, p[0]); !reflect.DeepEqual(got, want) {
			t.Errorf("type %d: %+v, want %+v", typ, got, want)
		}
		if _, err := unix.Write(p[1], []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := unix.Shutdown(p[0], unix.SHUT_WR); err != nil {
			t.Fatal(err)
		}
		want.Queued, want.Shutdown = 5, 2
		if got := query(t, p[0]); !reflect.DeepEqual(got, want) {
			t.Errorf("type %d: %+v, want %+v", typ, got, want)
		}
		unix.Close(p[1])
		if got := query(t, p[0]); !got.HasPeer || got.Peer != 0 {
			t.Errorf("type %d: a closed peer is %+v", typ, got)
		}
	}
}

func TestQueryUnixAlone(t *testing.T) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	want := UnixSocket{Ino: inode(t, fd), Type: unix.SOCK_STREAM, State: UnixUnconnected}
	if got := query(t, fd); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	name := filepath.Join(t.TempDir(), "s")
	client, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(client)
	err = errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: name}), unix.Listen(fd, 5), unix.Connect(client, &unix.SockaddrUnix{Name: name}))
	if err != nil {
		t.Fatal(err)
	}
	if got := query(t, fd); got.State != UnixListening || !slices.Equal(got.Waiting, []uint64{inode(t, client)}) || got.Backlog != 5 || string(got.Name) != name {
		t.Errorf("%+v", got)
	}
}

func TestQueryUnixNone(t *testing.T) {
	for _, ino := range []uint64{0, 1, 1 << 32} {
		if s, err := QueryUnix(ino); !errors.Is(err, unix.ENOENT) {
			t.Errorf("%d: %+v %v", ino, s, err)
		}
	}
}

// TestUnixTable: for thousands of sockets the list says the same as a query for
// each, in one walk of the kernel's table; sockets not listed are queried.
func TestUnixTable(t *testing.T) {
	var table UnixTable
	var fds []int
	for range 3000 {
		p := pair(t, unix.SOCK_STREAM)
		fds = append(fds, p[0], p[1])
	}
	listening, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(listening)
	if err := errors.Join(unix.Bind(listening, &unix.SockaddrUnix{Name: filepath.Join(t.TempDir(), "s")}), unix.Listen(listening, 5)); err != nil {
		t.Fatal(err)
	}
	fds = append(fds, listening)
	if _, err := unix.Write(fds[0], []byte("hello")); err != nil {
		t.Fatal(err)
	}
	for i, fd := range fds {
		got, err := table.Query(inode(t, fd))
		if err != nil {
			t.Fatal(err)
		}
		if i%100 != 0 { // a query for each takes long
			continue
		}
		if want := query(t, fd); !reflect.DeepEqual(*got, want) {
			t.Errorf("socket %d: %+v, want %+v", i, *got, want)
		}
	}
	later := pair(t, unix.SOCK_DGRAM)
	if got, err := table.Query(inode(t, later[0])); err != nil || got.Peer != inode(t, later[1]) {
		t.Errorf("one that came later: %+v %v", got, err)
	}
	if _, err := table.Query(1); !errors.Is(err, unix.ENOENT) {
		t.Errorf("none: %v", err)
	}
	for _, fd := range fds[:2] {
		if table.listed[inode(t, fd)] == nil {
			t.Errorf("socket %d is not in the list", fd)
		}
	}
}

func FuzzParseUnixList(f *testing.F) {
	f.Add(udiagRequest(7, 0, udiagShow))
	f.Fuzz(func(_ *testing.T, b []byte) { parseUnixList(b, map[uint64]*UnixSocket{}) })
}

func FuzzParseUnixDiag(f *testing.F) {
	f.Add(udiagRequest(7, 0, udiagShow))
	f.Fuzz(func(_ *testing.T, b []byte) { parseUnixDiag(b) })
}

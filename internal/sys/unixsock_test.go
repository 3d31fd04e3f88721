package sys

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnixNames: names of all lengths, of the file system and not, are bound, told, sent
// to and connected to as they are, byte by byte.
func TestUnixNames(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"x", "@x", strings.Repeat("y", 107), strings.Repeat("y", 108), "\x00ckpt-names", "\x00ckpt-names\x00", "\x00ckpt\x00\x00names", "\x00" + strings.Repeat("z", 107)} {
		to, from := datagram(t), datagram(t)
		if err := errors.Join(BindUnix(to, []byte(name)), BindUnix(from, []byte("from")), ConnectUnix(from, []byte(name))); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if s := query(t, to); string(s.Name) != name || (s.File.Ino != 0) != (name[0] != 0) {
			t.Errorf("%q is %q in %+v", name, s.Name, s.File)
		}
		if got, err := UnixPeer(from); string(got) != name || err != nil {
			t.Errorf("%q is %q at the other end, %v", name, got, err)
		}
		for _, dest := range [][]byte{nil, []byte(name)} {
			_, err := SendUnix(from, []byte("hello"), nil, dest, 0)
			buf := make([]byte, 9)
			n, _, _, sender, rerr := RecvUnix(to, buf, nil, unix.MSG_DONTWAIT)
			if err := errors.Join(err, rerr); err != nil || string(buf[:max(n, 0)]) != "hello" || string(sender) != "from" {
				t.Errorf("%q: %q from %q, %v", name, buf[:max(n, 0)], sender, err)
			}
		}
		os.Remove("from")
	}
	for _, name := range []string{"", strings.Repeat("y", 109)} {
		if err := BindUnix(datagram(t), []byte(name)); err != unix.EINVAL {
			t.Errorf("%q: %v", name, err)
		}
	}
	if got := UnixAddr([]byte("ab")); !bytes.Equal(got, []byte{unix.AF_UNIX, 0, 'a', 'b', 0}) {
		t.Errorf("%q", got)
	}
}

func datagram(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// TestWithin: a name with a path from the root is bound below a folder, and the file is
// the one that the socket tells; nothing of that is left for other threads.
func TestWithin(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("it takes CAP_SYS_CHROOT")
	}
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/no/such", 0o700); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	fd := datagram(t)
	if err := Within(int(in.Fd()), true, nil, func() error { return BindUnix(fd, []byte("/no/such/name")) }); err != nil {
		t.Fatal(err)
	}
	f, err := UnixFile(fd, "a socket")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := os.Stat(dir + "/no/such/name")
	if now, ferr := f.Stat(); errors.Join(err, ferr) != nil || !os.SameFile(st, now) || st.Mode().Perm() != 0o777 {
		t.Errorf("%v %v %v", st, err, ferr)
	}
	if s := query(t, fd); string(s.Name) != "/no/such/name" {
		t.Errorf("%q", s.Name)
	}
	if _, err := os.Stat("/no/such"); err == nil {
		t.Error("the root has changed for all")
	}
}

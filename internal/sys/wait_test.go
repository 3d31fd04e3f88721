package sys

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// TestFirstByte: it is seen, also if it comes late, and stays there to be read.
func TestFirstByte(t *testing.T) {
	late := func(b string) func(*testing.T) *os.File {
		return func(t *testing.T) *os.File {
			r, w := newPipe(t)
			go func() { time.Sleep(20 * time.Millisecond); _, _ = w.WriteString(b); w.Close() }()
			return r
		}
	}
	for name, c := range map[string]struct {
		open func(t *testing.T) *os.File
		want string // all there is to read
		seen bool
	}{
		"pipe":        {late("abc"), "abc", true},
		"pipe's end":  {late(""), "", false},
		"nonblocking": {func(t *testing.T) *os.File { f := late("abc")(t); _ = unix.SetNonblock(int(f.Fd()), true); return f }, "abc", true},
		"in a file": {func(t *testing.T) *os.File {
			name := filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(name, []byte("xyzabc"), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(name)
			if err == nil {
				_, err = f.Seek(3, io.SeekStart)
			}
			if err != nil {
				t.Fatal(err)
			}
			return f
		}, "abc", true},
		"socket": {func(t *testing.T) *os.File {
			p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			go func() { time.Sleep(20 * time.Millisecond); _, _ = unix.Write(p[1], []byte("abc")); unix.Close(p[1]) }()
			return os.NewFile(uintptr(p[0]), "socket")
		}, "abc", true},
		"device": {func(*testing.T) *os.File { f, _ := os.Open(os.DevNull); return f }, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			f := c.open(t)
			defer f.Close()
			b, ok, err := FirstByte(f)
			rest, rerr := io.ReadAll(f)
			if err != nil || rerr != nil || ok != c.seen || ok && b != c.want[0] || string(rest) != c.want {
				t.Errorf("%q, %v, %v; then %q, %v", b, ok, err, rest, rerr)
			}
		})
	}
}

// TestDrain: it waits until all was read, nobody can read, or it is to stop.
func TestDrain(t *testing.T) {
	none := context.Background()
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, w := newPipe(t)
	for _, f := range []*os.File{file, w} {
		if err := Drain(none, f); err != nil {
			t.Error(err)
		}
	}
	_, _ = w.WriteString("text")
	stopped, stop := context.WithCancelCause(none)
	why := errors.New("enough")
	done := make(chan error, 1)
	go func() { done <- Drain(stopped, w) }()
	select {
	case err := <-done:
		t.Errorf("with something unread: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	stop(why)
	if err := <-done; err != why {
		t.Error(err)
	}
	go func() { done <- Drain(none, w) }()
	_, _ = io.ReadFull(r, make([]byte, 4))
	if err := <-done; err != nil || !HasReaders(w) {
		t.Error(err)
	}
	_, _ = w.WriteString("text")
	r.Close()
	if err := Drain(none, w); !errors.Is(err, unix.EPIPE) || HasReaders(w) {
		t.Error(err)
	}
	w.Close()
	if HasReaders(w) {
		t.Error("a closed pipe has readers")
	}
}

package stream

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/stream/record"
)

// pipe makes a pipe of one page, so that both ends have to wait.
func pipe(t testing.TB, flags int) (r, w *os.File) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|flags); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(p[0]), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(p[0]), "pipe"), os.NewFile(uintptr(p[1]), "pipe")
}

// sources are what b can be read from.
var sources = map[string]func(t *testing.T, b []byte) io.Reader{
	"memory":            func(_ *testing.T, b []byte) io.Reader { return bytes.NewReader(b) },
	"file":              fileOf,
	"pipe":              func(t *testing.T, b []byte) io.Reader { return pipeOf(t, b, 0) },
	"non-blocking pipe": func(t *testing.T, b []byte) io.Reader { return pipeOf(t, b, unix.O_NONBLOCK) },
}

func pipeOf(t *testing.T, b []byte, flags int) io.Reader {
	r, w := pipe(t, flags)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = w.Write(b) // fails when the reader gave up
		w.Close()
	}()
	t.Cleanup(func() { r.Close(); <-done })
	return r
}

// sinks are what can be written to: a writer, and how to end it and have what
// was written.
var sinks = map[string]func(t *testing.T) (io.Writer, func() []byte){
	"memory": func(*testing.T) (io.Writer, func() []byte) {
		b := new(bytes.Buffer)
		return b, b.Bytes
	},
	"file":              func(t *testing.T) (io.Writer, func() []byte) { return fileSink(t, 0) },
	"appended file":     func(t *testing.T) (io.Writer, func() []byte) { return fileSink(t, os.O_APPEND) },
	"pipe":              func(t *testing.T) (io.Writer, func() []byte) { return pipeSink(t, 0) },
	"non-blocking pipe": func(t *testing.T) (io.Writer, func() []byte) { return pipeSink(t, unix.O_NONBLOCK) },
}

func fileSink(t *testing.T, flags int) (io.Writer, func() []byte) {
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "out"), os.O_CREATE|os.O_WRONLY|flags, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return f, func() []byte {
		b, err := os.ReadFile(f.Name())
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		return b
	}
}

func pipeSink(t *testing.T, flags int) (io.Writer, func() []byte) {
	r, w := pipe(t, flags)
	all := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(r)
		r.Close()
		all <- b
	}()
	return w, func() []byte { w.Close(); return <-all }
}

// TestEveryWay: whatever a filter stands between, splice(2) or a copy, the same
// comes out.
func TestEveryWay(t *testing.T) {
	b := bulky(t, 0, 1, spliceMinBytes-1, spliceMinBytes, copyBytes+1, 700<<10)
	for from, source := range sources {
		for to, sink := range sinks {
			t.Run(from+" to "+to, func(t *testing.T) {
				out, end := sink(t)
				err := Filter("test", source(t, b), out, pass)
				if got := end(); err != nil || !bytes.Equal(got, b) {
					t.Errorf("%d bytes became %d, %v", len(b), len(got), err)
				}
			})
		}
	}
}

// TestBrokenDataEveryWay: input that ends within data is never a whole stream
// behind the filter, and the next one learns the cause where the rest of the
// record can be filled up.
func TestBrokenDataEveryWay(t *testing.T) {
	small, large := bulky(t, 10, 300<<10), bulky(t, maxPadBytes+600<<10)
	for from, source := range sources {
		for to, sink := range sinks {
			for what, b := range map[string][]byte{"small": small[:len(small)-100<<10], "large": large[:300<<10]} {
				t.Run(from+" to "+to+", "+what, func(t *testing.T) {
					out, end := sink(t)
					err := Filter("first", source(t, b), out, pass)
					var re *RecordError
					if !errors.Is(err, ErrTruncated) || !errors.As(err, &re) || re.Type != record.TypeContent {
						t.Errorf("the filter: %v", err)
					}
					_, err = readAll(bytes.NewReader(end()))
					var abort *AbortError
					switch {
					case what == "large" && !errors.Is(err, ErrTruncated):
						t.Errorf("behind it: %v", err)
					case what == "small" && (!errors.As(err, &abort) || abort.Tool != "first" || !strings.Contains(abort.Reason, ErrTruncated.Error())):
						t.Errorf("behind it: %v", err)
					}
				})
			}
		}
	}
}

// TestReaderGone: a filter whose reader is gone says so, and does not hang.
func TestReaderGone(t *testing.T) {
	b := bulky(t, 300<<10)
	for from, source := range sources {
		t.Run(from, func(t *testing.T) {
			r, w := pipe(t, 0)
			defer w.Close()
			r.Close()
			if err := Filter("test", source(t, b), w, pass); !errors.Is(err, unix.EPIPE) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestFullDevice: what the sink did not take is an error, also by splice(2).
func TestFullDevice(t *testing.T) {
	b := bulky(t, 300<<10)
	for from, source := range sources {
		t.Run(from, func(t *testing.T) {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer full.Close()
			if err := Filter("test", source(t, b), full, pass); !errors.Is(err, unix.ENOSPC) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestSpliceNamesTheFile: where splice(2) fails, the error names what is written.
func TestSpliceNamesTheFile(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.Write(make([]byte, 8192)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	fd, err := unix.MemfdCreate("small", unix.MFD_ALLOW_SEALING|unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	small := os.NewFile(uintptr(fd), "/the/image")
	defer small.Close()
	if err := small.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(small.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_GROW); err != nil {
		t.Fatal(err)
	}
	if moved, err := spliceAll(small, r, 8192); moved != 4096 || err == nil || !strings.Contains(err.Error(), small.Name()) {
		t.Errorf("%d bytes moved, %v", moved, err)
	}
}

// TestOpeningChangesNothing: a pipe stays as large as it was.
func TestOpeningChangesNothing(t *testing.T) {
	r, w := pipe(t, 0)
	defer r.Close()
	defer w.Close()
	NewReader(r)
	NewWriter(w)
	if n, err := unix.FcntlInt(r.Fd(), unix.F_GETPIPE_SZ, 0); err != nil || n != 4096 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

package write

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/hold"
	"ckpt/internal/image"
	"ckpt/internal/testkit"
	"ckpt/stream"
	"ckpt/stream/record"
)

// input is a stream in a file, of a stage, with data, and perhaps a hold.
func input(t *testing.T, stage string, h *hold.Hold, end func(w *stream.Writer)) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	testkit.Check(t, err)
	t.Cleanup(func() { f.Close() })
	w := stream.NewWriter(f)
	head := record.Header{Stage: stage}
	if h != nil {
		ref := h.Ref()
		head.Checkpoint = ref.Checkpoint
		head.Hold = &record.Hold{PID: ref.PID, StartTime: ref.StartTime, FD: ref.FD, BootID: ref.BootID, Mark: ref.Mark}
	}
	testkit.Check(t, w.Add(record.TypeHeader, &head))
	testkit.Check(t, w.Add(record.TypeReg, &record.Reg{Object: record.Object{Objref: 1}}))
	for i := range 3 {
		rec, err := stream.New(record.TypeContent, &record.Content{})
		testkit.Check(t, err)
		rec.DataLen = 1 << 20
		testkit.Check(t, w.Write(rec, bytes.NewReader(bytes.Repeat([]byte{byte(i + 1)}, 1<<20))))
	}
	end(w)
	_, err = f.Seek(0, io.SeekStart)
	testkit.Check(t, err)
	return f
}

func whole(w *stream.Writer) { _ = w.End(record.End{}) }

func options(output string) Options {
	quiet := func(string, ...any) {}
	return Options{Level: 1, Threads: 2, Output: output, Step: quiet, Note: quiet}
}

// unpacked is the stream in an image.
func unpacked(t *testing.T, file string) []byte {
	t.Helper()
	f, err := os.Open(file)
	testkit.Check(t, err)
	defer f.Close()
	r := image.NewReader(f, image.ReaderOptions{Threads: 1})
	defer r.Close()
	b, err := io.ReadAll(r)
	testkit.Check(t, err)
	return b
}

func contents(t *testing.T, f *os.File) []byte {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	testkit.Check(t, err)
	return b
}

// names lists a folder.
func names(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	testkit.Check(t, err)
	var all []string
	for _, e := range list {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

// TestOutput: the image appears under its name, whole, readable by its owner only,
// in place of what was there, and nothing else appears.
func TestOutput(t *testing.T) {
	for name, prepare := range map[string]func(img string){
		"new":       func(string) {},
		"in place":  func(img string) { testkit.Check(t, os.WriteFile(img, []byte("the last image"), 0o644)) },
		"of a link": func(img string) { testkit.Check(t, os.Symlink("elsewhere", img)) },
		// What one left that was killed as it named its file.
		"a left over": func(img string) {
			testkit.Check(t, os.WriteFile(filepath.Join(filepath.Dir(img), fmt.Sprintf(".img.%d", os.Getpid())), nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			img := filepath.Join(dir, "img")
			prepare(img)
			others := func() string { return strings.TrimSpace(strings.TrimSuffix(" "+names(t, dir), " img")) }
			before := others()
			in := input(t, record.StageShared, nil, whole)
			testkit.Check(t, Run(context.Background(), options(img), in, nil))
			if got := unpacked(t, img); !bytes.Equal(got, contents(t, in)) {
				t.Errorf("%d bytes of stream, not %d", len(got), len(contents(t, in)))
			}
			if st, err := os.Lstat(img); err != nil || st.Mode() != 0o600 {
				t.Errorf("%v, %v", st.Mode(), err)
			}
			if others() != before {
				t.Errorf("there are %s", names(t, dir))
			}
		})
	}
}

// TestLongName: whatever name a file may have, an image may have.
func TestLongName(t *testing.T) {
	img := filepath.Join(t.TempDir(), strings.Repeat("n", 255))
	testkit.Check(t, Run(context.Background(), options(img), input(t, record.StageShared, nil, whole), nil))
	unpacked(t, img)
}

// TestFailures: of what fails nothing is left, and what was there before is there.
func TestFailures(t *testing.T) {
	for name, c := range map[string]struct {
		stage string
		end   func(w *stream.Writer)
		is    error
		says  string
	}{
		"raw":       {record.StageRaw, whole, ErrRaw, "could not be restored"},
		"truncated": {record.StageShared, func(w *stream.Writer) { _ = w.Flush() }, stream.ErrTruncated, "ends before its END"},
		"given up":  {record.StageShared, func(w *stream.Writer) { w.Abort("ckpt-x", errors.New("a reason")) }, nil, "ckpt-x gave up: a reason"},
	} {
		for _, old := range []string{"", "the last image"} {
			t.Run(name+old, func(t *testing.T) {
				dir := t.TempDir()
				img := filepath.Join(dir, "img")
				if old != "" {
					testkit.Check(t, os.WriteFile(img, []byte(old), 0o600))
				}
				before := names(t, dir)
				err := Run(context.Background(), options(img), input(t, c.stage, nil, c.end), nil)
				if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v", err)
				}
				if b, _ := os.ReadFile(img); string(b) != old || names(t, dir) != before {
					t.Errorf("%q, and in the folder %s", b, names(t, dir))
				}
			})
		}
	}
	empty, err := os.Open(os.DevNull)
	testkit.Check(t, err)
	defer empty.Close()
	if err := Run(context.Background(), options(filepath.Join(t.TempDir(), "img")), empty, nil); err == nil {
		t.Error("nothing is an image")
	}
}

// TestCancelled: what comes after a signal is not written, though the stream ends.
func TestCancelled(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("a signal came")
	cancel(why)
	if err := Run(ctx, options(filepath.Join(dir, "img")), input(t, record.StageShared, nil, whole), nil); !errors.Is(err, why) {
		t.Error(err)
	}
	if left := names(t, dir); left != "" {
		t.Error(left)
	}
}

// TestNotBefore: as long as the stream goes on there is nothing to be seen of it.
func TestNotBefore(t *testing.T) {
	dir := t.TempDir()
	img := filepath.Join(dir, "img")
	testkit.Check(t, os.WriteFile(img, []byte("the last image"), 0o600))
	all := contents(t, input(t, record.StageShared, nil, whole))
	r, w, err := os.Pipe()
	testkit.Check(t, err)
	defer r.Close()
	done := make(chan error, 1)
	go func() { done <- Run(context.Background(), options(img), r, nil) }()
	_, err = w.Write(all[:len(all)-1]) // all but a part of END was taken in, or is in the pipe
	testkit.Check(t, err)
	if b, err := os.ReadFile(img); err != nil || string(b) != "the last image" || names(t, dir) != "img" {
		t.Errorf("%q, %v, %s", b, err, names(t, dir))
	}
	_, err = w.Write(all[len(all)-1:])
	testkit.Check(t, err)
	w.Close()
	testkit.Check(t, <-done)
	if got := unpacked(t, img); !bytes.Equal(got, all) {
		t.Errorf("%d bytes", len(got))
	}
}

// TestNewDest: where no file can be made, or none is to be replaced, it is said
// before anything is read.
func TestNewDest(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	testkit.Check(t, unix.Mkfifo(fifo, 0o600))
	for path, says := range map[string]string{
		dir:                          "is not a regular file; write to it with > instead of -o",
		fifo:                         "is not a regular file",
		filepath.Join(dir, "no/img"): "create a file in " + filepath.Join(dir, "no"),
	} {
		if err := Run(context.Background(), options(path), nil, nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestLinkFails: a file that can't get its name is not left under another.
func TestLinkFails(t *testing.T) {
	for name, file := range map[string]func(dir string) (*os.File, error){
		"without a name": func(dir string) (*os.File, error) { return createBeside(filepath.Join(dir, "img")) },
		// As where the file system knows none such.
		"with a temporary one": func(dir string) (*os.File, error) { return os.CreateTemp(dir, ".img.*") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f, err := file(dir)
			testkit.Check(t, err)
			d := &dest{f: f, path: filepath.Join(dir, "img")}
			testkit.Check(t, os.MkdirAll(filepath.Join(d.path, "full"), 0o700)) // since then
			if err := d.commit(); err == nil || !strings.Contains(err.Error(), "image file: ") {
				t.Error(err)
			}
			testkit.Check(t, d.discard())
			if left := names(t, dir); left != "img" {
				t.Errorf("there are %s", left)
			}
			testkit.Check(t, os.RemoveAll(d.path))
			if f, err = file(dir); err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteString("text")
			testkit.Check(t, err)
			d = &dest{f: f, path: d.path}
			testkit.Check(t, d.commit())
			if b, err := os.ReadFile(d.path); string(b) != "text" || err != nil || names(t, dir) != "img" {
				t.Errorf("%q, %v, %s", b, err, names(t, dir))
			}
			if f, err = file(dir); err != nil {
				t.Fatal(err)
			}
			testkit.Check(t, (&dest{f: f, path: d.path}).discard())
			if b, err := os.ReadFile(d.path); string(b) != "text" || err != nil || names(t, dir) != "img" {
				t.Errorf("discarded: %q, %v, %s", b, err, names(t, dir))
			}
		})
	}
}

// TestHold: who holds the target for an image says what became of it.
func TestHold(t *testing.T) {
	for name, c := range map[string]struct {
		end       func(w *stream.Writer)
		to        string // "file", "stdout", "pipe"
		committed bool
		stored    bool
		failures  int
	}{
		"to a file":             {whole, "file", true, true, 0},
		"to a file as stdout":   {whole, "stdout", true, true, 0},
		"to a pipe":             {whole, "pipe", false, true, 0},
		"truncated":             {func(w *stream.Writer) { _ = w.Flush() }, "file", false, false, 1},
		"truncated, to a pipe":  {func(w *stream.Writer) { _ = w.Flush() }, "pipe", false, false, 1},
		"given up, to a stdout": {func(w *stream.Writer) { w.Abort("x", errors.New("y")) }, "stdout", false, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := hold.New("00112233445566778899aabbccddeeff")
			testkit.Check(t, err)
			defer h.Close()
			o, out := options(""), (*os.File)(nil)
			switch c.to {
			case "file":
				o.Output = filepath.Join(t.TempDir(), "img")
			case "stdout":
				out, err = os.Create(filepath.Join(t.TempDir(), "img"))
				testkit.Check(t, err)
				defer out.Close()
			case "pipe":
				r, w, err := os.Pipe()
				testkit.Check(t, err)
				defer r.Close()
				defer w.Close()
				go func() { _, _ = io.Copy(io.Discard, r) }()
				out = w
			}
			err = Run(context.Background(), o, input(t, record.StageShared, h, c.end), out)
			if (err == nil) != (c.failures == 0) {
				t.Error(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			got, err := h.Wait(ctx, hold.WaitOptions{})
			if err != nil || !got.Taken || got.Committed != c.committed || c.failures == 0 && got.Stored != c.stored || len(got.Failures) != c.failures || c.committed && got.Bytes == 0 {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// TestIntoPipe: where the target is to be killed, the image was read before the hold is
// let go: who stores it has taken the hold then. Otherwise nobody waits for that.
func TestIntoPipe(t *testing.T) {
	small := func(leave string, h *hold.Hold) *os.File {
		f, err := os.CreateTemp(t.TempDir(), "")
		testkit.Check(t, err)
		t.Cleanup(func() { f.Close() })
		ref := h.Ref()
		w := stream.NewWriter(f)
		testkit.Check(t, w.Add(record.TypeHeader, &record.Header{Stage: record.StageShared, Leave: leave, Checkpoint: ref.Checkpoint,
			Hold: &record.Hold{PID: ref.PID, StartTime: ref.StartTime, FD: ref.FD, BootID: ref.BootID, Mark: ref.Mark}}))
		whole(w)
		_, err = f.Seek(0, io.SeekStart)
		testkit.Check(t, err)
		return f
	}
	for leave, waits := range map[string]bool{record.LeaveKilled: true, "running": false} {
		for _, gone := range []bool{false, true} {
			h, err := hold.New("00112233445566778899aabbccddeeff")
			testkit.Check(t, err)
			defer h.Close()
			r, w, err := os.Pipe()
			testkit.Check(t, err)
			defer r.Close()
			defer w.Close()
			done := make(chan error, 1)
			go func() { done <- Run(context.Background(), options(""), small(leave, h), w) }()
			if !waits {
				testkit.Check(t, <-done)
				continue
			}
			_, err = io.ReadFull(r, make([]byte, 64)) // of more
			testkit.Check(t, err)
			select {
			case err := <-done:
				t.Errorf("with an image that nobody has read: %v", err)
			case <-time.After(100 * time.Millisecond):
			}
			if !h.DataHeld() {
				t.Error("it does not hold any more")
			}
			if gone {
				r.Close()
				if err := <-done; !errors.Is(err, unix.EPIPE) {
					t.Error(err)
				}
				continue
			}
			_, err = r.Read(make([]byte, 64<<10))
			testkit.Check(t, err)
			testkit.Check(t, <-done)
		}
	}
}

// TestHoldGone: an image is written all the same if its target is not held.
func TestHoldGone(t *testing.T) {
	h, err := hold.New("00112233445566778899aabbccddeeff")
	testkit.Check(t, err)
	in := input(t, record.StageShared, h, whole)
	testkit.Check(t, h.Close())
	o := options(filepath.Join(t.TempDir(), "img"))
	said := ""
	o.Step = func(format string, args ...any) { said += fmt.Sprintf(format, args...) + "\n" }
	testkit.Check(t, Run(context.Background(), o, in, nil))
	unpacked(t, o.Output)
	if !strings.Contains(said, "the target is not held for this image") || !strings.Contains(said, "bytes of stream in an image of") {
		t.Error(said)
	}
}

// TestReadByOthers: a word about an image on standard output that others may read.
func TestReadByOthers(t *testing.T) {
	for mode, told := range map[os.FileMode]bool{0o600: false, 0o644: true, 0o640: true, 0o622: false} {
		out, err := os.OpenFile(filepath.Join(t.TempDir(), "img"), os.O_RDWR|os.O_CREATE, 0o600)
		testkit.Check(t, err)
		testkit.Check(t, out.Chmod(mode))
		o, said := options(""), false
		o.Note = func(string, ...any) { said = true }
		testkit.Check(t, Run(context.Background(), o, input(t, record.StageShared, nil, whole), out))
		if said != told {
			t.Errorf("mode %o: told %v", mode, said)
		}
		out.Close()
	}
}

// TestNoRoom: an error in writing is the cause that is told.
func TestNoRoom(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	testkit.Check(t, err)
	defer full.Close()
	if err := Run(context.Background(), options(""), input(t, record.StageShared, nil, whole), full); !errors.Is(err, unix.ENOSPC) {
		t.Error(err)
	}
}

// TestNamedInErrors: an error in writing names the file that was asked for, which
// has no name yet.
func TestNamedInErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "img")
	d, err := newDest(path, nil)
	testkit.Check(t, err)
	testkit.Check(t, d.f.Close())
	if _, err := d.f.Write([]byte{0}); err == nil || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
	testkit.Check(t, d.discard())
}

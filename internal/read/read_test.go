package read

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/image"
	"ckpt/internal/testkit"
	"ckpt/stream"
	"ckpt/stream/record"
)

// sample is a stream with metadata and some data that does not compress.
func sample(t testing.TB, dataBytes int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := stream.NewWriter(&b)
	testkit.Check(t, w.Add(record.TypeHeader, &record.Header{Stage: record.StageShared}))
	for i := range uint64(20) {
		testkit.Check(t, w.Add(record.TypeReg, &record.Reg{Object: record.Object{Objref: i + 1}, Size: int64(i)}))
	}
	data := make([]byte, dataBytes)
	rnd := rand.NewChaCha8([32]byte{7})
	_, _ = rnd.Read(data)
	for part := range slices.Chunk(data, stream.DataChunkBytes) {
		rec, err := stream.New(record.TypeContent, &record.Content{})
		testkit.Check(t, err)
		rec.DataLen = int64(len(part))
		testkit.Check(t, w.Write(rec, bytes.NewReader(part)))
	}
	testkit.Check(t, w.End(record.End{}))
	return b.Bytes()
}

// packed is the image of a stream.
func packed(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := image.NewWriter(&b, image.WriterOptions{Level: 1, Threads: 1})
	testkit.Check(t, err)
	defer w.Abort()
	_, err = w.Write(text)
	testkit.Check(t, err)
	testkit.Check(t, w.Close())
	return b.Bytes()
}

// unpack runs ckpt-read on an image, in a file or by a pipe.
func unpack(t testing.TB, ctx context.Context, img []byte, pipe bool, before string) (out []byte, err error) {
	t.Helper()
	in := input(t, img, pipe, before)
	defer in.Close()
	r, w, err := os.Pipe()
	testkit.Check(t, err)
	got := make(chan []byte)
	go func() { b, _ := io.ReadAll(r); r.Close(); got <- b }()
	err = Run(ctx, Options{Threads: 2, Step: func(string, ...any) {}}, in, w)
	w.Close()
	return <-got, err
}

// input is an image as ckpt-read gets it, which stands behind what comes before.
func input(t testing.TB, img []byte, pipe bool, before string) *os.File {
	t.Helper()
	if pipe {
		r, w, err := os.Pipe()
		testkit.Check(t, err)
		go func() { _, _ = w.Write(img); w.Close() }()
		return r
	}
	f, err := os.CreateTemp(t.TempDir(), "")
	testkit.Check(t, err)
	_, err = f.WriteString(before)
	testkit.Check(t, err)
	_, err = f.Write(img)
	testkit.Check(t, err)
	_, err = f.Seek(int64(len(before)), io.SeekStart)
	testkit.Check(t, err)
	return f
}

// records are the types of the records in a stream, and whether it is whole.
func records(b []byte) (types []record.Type, err error) {
	r := stream.NewReader(bytes.NewReader(b))
	for {
		rec, err := r.Next()
		if err != nil {
			return types, err
		}
		types = append(types, rec.Type)
	}
}

// TestRead: the stream comes out as it went in.
func TestRead(t *testing.T) {
	text := sample(t, 3<<20)
	img := packed(t, text)
	for _, pipe := range []bool{false, true} {
		got, err := unpack(t, context.Background(), img, pipe, "")
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("pipe %v: %d bytes, not %d: %v", pipe, len(got), len(text), err)
		}
	}
	if got, err := unpack(t, context.Background(), img, false, "a header of somebody else's"); err != nil || !bytes.Equal(got, text) {
		t.Errorf("in the middle of a file: %d bytes, not %d: %v", len(got), len(text), err)
	}
}

// TestDamaged: of a damaged image in a file no record comes out, and from a pipe
// none that is wrong, and never END. An ABORT tells why.
func TestDamaged(t *testing.T) {
	rng := testkit.Random(t)
	text := sample(t, 2<<20)
	img := packed(t, text)
	good, _ := records(text)
	damage := map[string]func(b []byte) []byte{
		"cut to nothing":   func([]byte) []byte { return nil },
		"only the header":  func(b []byte) []byte { return b[:64] },
		"without its end":  func(b []byte) []byte { return b[:len(b)-1] },
		"one byte more":    func(b []byte) []byte { return append(b, 0) },
		"twice":            func(b []byte) []byte { return append(b, b...) },
		"of another kind":  func(b []byte) []byte { return append([]byte("PK\x03\x04"), b...) },
		"zeros behind it":  func(b []byte) []byte { return append(b, make([]byte, 4096)...) },
		"a later version":  func(b []byte) []byte { return bytes.Replace(b, []byte("version 1\n"), []byte("version 9\n"), 1) },
		"a hole inside it": func(b []byte) []byte { clear(b[len(b)/2 : len(b)/2+4096]); return b },
	}
	for range 60 {
		at, bit := rng.IntN(len(img)), byte(1)<<rng.UintN(8)
		damage[fmt.Sprintf("bit %#x of byte %d", bit, at)] = func(b []byte) []byte { b[at] ^= bit; return b }
		damage[fmt.Sprintf("cut to %d bytes", at)] = func(b []byte) []byte { return b[:at] }
	}
	for name, change := range damage {
		for _, pipe := range []bool{false, true} {
			got, err := unpack(t, context.Background(), change(bytes.Clone(img)), pipe, "")
			types, rerr := records(got)
			var abort *stream.AbortError
			switch {
			case err == nil:
				t.Errorf("%s, pipe %v: no error", name, pipe)
			case !errors.As(rerr, &abort) || abort.Tool != Tool || !strings.HasPrefix(err.Error(), abort.Reason):
				t.Errorf("%s, pipe %v: %v, and behind it %v", name, pipe, err, rerr)
			case !pipe && len(types) > 0:
				t.Errorf("%s: %d records of a file that is damaged", name, len(types))
			}
			for i, typ := range types {
				if typ == record.TypeEnd || typ != good[i] {
					t.Errorf("%s, pipe %v: record %d is %v", name, pipe, i, typ)
				}
			}
		}
	}
}

// TestNoStream: an image of what is no stream, or not of a whole one, is not made
// one.
func TestNoStream(t *testing.T) {
	text := sample(t, 1000)
	for name, b := range map[string][]byte{
		"nothing": nil, "words": []byte("some words"), "a part": text[:len(text)-5], "more": append(bytes.Clone(text), "more"...),
	} {
		for _, pipe := range []bool{false, true} {
			got, err := unpack(t, context.Background(), packed(t, b), pipe, "")
			types, rerr := records(got)
			if err == nil || rerr == io.EOF || len(types) > 0 && types[len(types)-1] == record.TypeEnd {
				t.Errorf("%s, pipe %v: %v, %v, %v", name, pipe, err, rerr, types)
			}
		}
	}
}

// TestStatus: what is wrong with the input has an exit status of its own, and a
// hint where there is one.
func TestStatus(t *testing.T) {
	_, err := unpack(t, context.Background(), sample(t, 10), false, "")
	var hint interface{ Hint() string }
	if err = status(err); !errors.Is(err, image.ErrStream) || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "needs no ckpt-read") {
		t.Error(err)
	}
	if err := status(io.ErrClosedPipe); err != io.ErrClosedPipe {
		t.Error(err)
	}
}

// TestCancelled: after a signal the cause is that.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("a signal came")
	cancel(why)
	r, w, err := os.Pipe()
	testkit.Check(t, err)
	r.Close()
	defer w.Close()
	in := input(t, packed(t, sample(t, 1<<20)), false, "")
	defer in.Close()
	if err := Run(ctx, Options{Threads: 1, Step: func(string, ...any) {}}, in, w); !errors.Is(err, why) {
		t.Error(err)
	}
	_, _ = in.Seek(0, io.SeekStart)
	if err := Run(context.Background(), Options{Threads: 1, Step: func(string, ...any) {}}, in, w); !errors.Is(err, unix.EPIPE) {
		t.Error(err)
	}
}

// TestSaidBehind: what the sides of a move say behind an image, or in its place, is passed on; nothing else
// that follows is.
func TestSaidBehind(t *testing.T) {
	text := sample(t, 100<<10)
	img := packed(t, text)
	const said = "ckpt-move open 00112233445566778899aabbccddeeff\n"
	for name, c := range map[string]struct {
		in, want string
		err      error
	}{
		"behind":         {string(img) + said, string(text) + said, nil},
		"more":           {string(img) + said + said, string(text) + said + said, nil},
		"in its place":   {said, said, nil},
		"something else": {string(img) + strings.ToUpper(said), "", image.ErrCorrupt},
		"the beginning":  {string(img) + said[:5], "", image.ErrCorrupt},
		"alone":          {said[:5], "", image.ErrForeign},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := unpack(t, context.Background(), []byte(c.in), true, "")
			if !errors.Is(err, c.err) || c.err == nil && string(got) != c.want {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	if _, err := unpack(t, context.Background(), []byte(string(img)+said), false, ""); !errors.Is(err, image.ErrTruncated) {
		t.Errorf("a file: %v", err)
	}
}

// TestSaidAtOnce: what is said behind an image does not wait for the end.
func TestSaidAtOnce(t *testing.T) {
	r, w, err := os.Pipe()
	testkit.Check(t, err)
	defer r.Close()
	back, out, err := os.Pipe()
	testkit.Check(t, err)
	defer back.Close()
	text := sample(t, 1000)
	over := make(chan error, 1)
	go func() {
		over <- Run(context.Background(), Options{Step: func(string, ...any) {}}, r, out)
		out.Close()
	}()
	for _, part := range [][2]string{{string(packed(t, text)) + "ckpt-move open 1\n", string(text) + "ckpt-move open 1\n"}, {"ckpt-move go 2\n", "ckpt-move go 2\n"}} {
		_, err := w.WriteString(part[0])
		testkit.Check(t, err)
		got := make([]byte, len(part[1]))
		if _, err := io.ReadFull(back, got); err != nil || string(got) != part[1] {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	testkit.Check(t, w.Close())
	testkit.Check(t, <-over)
}

package image

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

var errDisk = errors.New("disk on fire")

// limitWriter fails after n bytes.
type limitWriter struct{ n int }

func (w *limitWriter) Write(p []byte) (int, error) {
	if len(p) > w.n {
		return w.n, errDisk
	}
	w.n -= len(p)
	return len(p), nil
}

func TestWriterFirstCause(t *testing.T) {
	checkGoroutines(t)
	data := sample(chunkBytes)
	img := pack(t, WriterOptions{Level: 1}, bytes.Repeat(data, 20))
	for limit := 0; limit < len(img); limit += len(img)/20 + 1 {
		z, err := NewWriter(&limitWriter{limit}, WriterOptions{Level: 1})
		for i := 0; err == nil && i < 20; i++ {
			_, err = z.Write(data)
		}
		if err == nil {
			err = z.Close()
		}
		if !errors.Is(err, errDisk) {
			t.Fatalf("limit %d: %v", limit, err)
		}
		if z == nil {
			continue
		}
		for _, again := range []error{z.Cut(), z.Close()} {
			if !errors.Is(again, errDisk) {
				t.Fatalf("limit %d: later %v", limit, again)
			}
		}
		z.Abort()
	}
}

func TestWriterSourceFails(t *testing.T) {
	checkGoroutines(t)
	var img bytes.Buffer
	z, err := NewWriter(&img, WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	src := io.MultiReader(bytes.NewReader(sample(3*chunkBytes)), iotest.ErrReader(errDisk))
	if _, err := z.ReadFrom(src); !errors.Is(err, errDisk) {
		t.Errorf("ReadFrom: %v", err)
	}
	if err := z.Close(); !errors.Is(err, errDisk) {
		t.Errorf("Close: %v", err)
	}
	if _, err := unpack(img.Bytes(), 1); !errors.Is(err, ErrTruncated) {
		t.Errorf("the image reads as %v", err)
	}
}

func TestWriterAbort(t *testing.T) {
	checkGoroutines(t)
	z, err := NewWriter(io.Discard, WriterOptions{Level: 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(sample(3 * chunkBytes)); err != nil {
		t.Fatal(err)
	}
	z.Abort()
	z.Abort()
	if _, err := z.Write([]byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("Write after Abort: %v", err)
	}
	if err := z.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("Close after Abort: %v", err)
	}
}

func TestWriterAfterClose(t *testing.T) {
	z, err := NewWriter(io.Discard, WriterOptions{})
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	_, werr := z.Write([]byte("x"))
	_, rerr := z.ReadFrom(bytes.NewReader([]byte("x")))
	for _, err := range []error{werr, rerr, z.Cut(), z.Close()} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []WriterOptions{{Level: -1}, {Level: 10}, {Threads: -1}, {Threads: 65}} {
		if _, err := NewWriter(io.Discard, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	r := NewReader(bytes.NewReader(nil), ReaderOptions{Threads: -1})
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("-1 threads were taken")
	}
	if err := Verify(bytes.NewReader(nil), 0, -1); err == nil {
		t.Error("-1 threads were taken")
	}
}

func TestReaderStopsEarly(t *testing.T) {
	checkGoroutines(t)
	img := pack(t, WriterOptions{}, sample(10*chunkBytes))
	r := NewReader(bytes.NewReader(img), ReaderOptions{})
	if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
	_ = NewReader(bytes.NewReader(img), ReaderOptions{}).Close()

	r = NewReader(bytes.NewReader(img), ReaderOptions{})
	if n, err := r.WriteTo(&limitWriter{3 * chunkBytes}); !errors.Is(err, errDisk) || n != 3*chunkBytes {
		t.Errorf("WriteTo: %d, %v", n, err)
	}
	_ = r.Close()
}

func TestReaderSourceFails(t *testing.T) {
	img := pack(t, WriterOptions{}, sample(100))
	for n := range len(img) + 1 {
		r := NewReader(io.MultiReader(bytes.NewReader(img[:n]), iotest.ErrReader(errDisk)), ReaderOptions{})
		_, err := io.Copy(io.Discard, r)
		var at *FrameError
		if !errors.Is(err, errDisk) || !errors.As(err, &at) || at.Offset != int64(n) {
			t.Fatalf("source fails at %d: %v", n, err)
		}
		_ = r.Close()
	}
}

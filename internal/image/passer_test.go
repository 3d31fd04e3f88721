package image

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// passed passes an image on, and returns what its stream begins with and what came out.
func passed(r io.Reader) (begin, out []byte, err error) {
	p := NewPasser(r)
	if begin, err = p.Begin(); err != nil {
		return nil, nil, err
	}
	var b bytes.Buffer
	n, err := p.WriteTo(&b)
	if err == nil && n != int64(b.Len()) {
		err = errors.New("it counts other bytes than it writes")
	}
	return begin, b.Bytes(), err
}

// imageOf makes an image of parts, each a frame of its own.
func imageOf(t *testing.T, parts ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, WriterOptions{Level: 1, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range parts {
		if _, err := io.WriteString(w, part); err != nil {
			t.Fatal(err)
		}
		if err := w.Cut(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestPasser: an image comes out as it went in, by reads of any size.
func TestPasser(t *testing.T) {
	for _, parts := range [][]string{nil, {"a"}, {"begin", strings.Repeat("text ", 1<<20), "end"}, {strings.Repeat("x", 3<<20)}} {
		img, begin := imageOf(t, parts...), ""
		if len(parts) > 0 {
			begin = parts[0][:min(len(parts[0]), chunkBytes)]
		}
		for _, r := range []io.Reader{bytes.NewReader(img), iotest.HalfReader(bytes.NewReader(img)), iotest.DataErrReader(bytes.NewReader(img))} {
			if got, out, err := passed(r); err != nil || string(got) != begin || !bytes.Equal(out, img) {
				t.Errorf("it begins with %d bytes, not %d; %d bytes, not %d; %v", len(got), len(begin), len(out), len(img), err)
			}
		}
	}
}

// TestPasserBegin: nothing is read behind the first frame before it is asked for.
func TestPasserBegin(t *testing.T) {
	img := imageOf(t, "begin", "end")
	r := bytes.NewReader(img)
	if _, err := NewPasser(r).Begin(); err != nil {
		t.Fatal(err)
	}
	alone := imageOf(t, "begin")
	if read, most := len(img)-r.Len(), len(alone)-int(indexBytes(1)+seekBytes(1)); read != most {
		t.Errorf("%d bytes were read, not %d", read, most)
	}
}

// TestPasserDamage: what is cut anywhere, or has one byte changed, is not whole.
func TestPasserDamage(t *testing.T) {
	img := imageOf(t, "begin", strings.Repeat("text ", 20), "end")
	for i := range img {
		if _, _, err := passed(bytes.NewReader(img[:i])); !errors.Is(err, ErrTruncated) {
			t.Errorf("cut at byte %d: %v", i, err)
		}
		bad := bytes.Clone(img)
		bad[i] ^= 0x10
		if _, _, err := passed(bytes.NewReader(bad)); err == nil {
			t.Errorf("byte %d is another, and nothing is wrong", i)
		}
	}
	if _, _, err := passed(bytes.NewReader(append(bytes.Clone(img), 0))); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a byte behind it: %v", err)
	}
	no := errors.New("no room")
	p := NewPasser(bytes.NewReader(img))
	if _, err := p.Begin(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.WriteTo(refusing{no}); !errors.Is(err, no) {
		t.Error(err)
	}
}

type refusing struct{ err error }

func (r refusing) Write([]byte) (int, error) { return 0, r.err }

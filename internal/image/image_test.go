package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// sample returns n bytes that compress about as process memory does: a third zero pages, a third
// pointers into a few regions, a third text and random bytes.
func sample(n int) []byte {
	rnd := rand.New(rand.NewChaCha8([32]byte{1}))
	b := make([]byte, 0, n+4096)
	for page := 0; len(b) < n; page++ {
		switch page % 6 {
		case 0, 3:
			b = append(b, make([]byte, 4096)...)
		case 1, 4:
			for range 512 {
				b = le.AppendUint64(b, 0x7f0000000000|uint64(rnd.IntN(1<<16))<<4)
			}
		case 2:
			for range 256 {
				b = fmt.Appendf(b, "key:%011d ", rnd.IntN(1<<20))
			}
		case 5:
			for range 512 {
				b = le.AppendUint64(b, rnd.Uint64())
			}
		}
	}
	return b[:n]
}

// pack makes an image of the parts, with a cut after each.
func pack(t testing.TB, opts WriterOptions, parts ...[]byte) []byte {
	t.Helper()
	var img bytes.Buffer
	z, err := NewWriter(&img, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Abort()
	for _, p := range parts {
		if _, err := z.Write(p); err != nil {
			t.Fatal(err)
		}
		if err := z.Cut(); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if z.Written() != int64(img.Len()) {
		t.Fatalf("Written is %d, the image has %d bytes", z.Written(), img.Len())
	}
	return img.Bytes()
}

func unpack(img []byte, threads int) ([]byte, error) {
	r := NewReader(bytes.NewReader(img), ReaderOptions{Threads: threads})
	defer r.Close()
	var out bytes.Buffer
	_, err := r.WriteTo(&out)
	return out.Bytes(), err
}

func verify(img []byte) error {
	return Verify(bytes.NewReader(img), int64(len(img)), 2)
}

// checkGoroutines fails the test if it leaves goroutines behind.
func checkGoroutines(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for range 200 {
			if runtime.NumGoroutine() <= before {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
	})
}

func TestRoundTrip(t *testing.T) {
	checkGoroutines(t)
	data := sample(5*chunkBytes + 12345)
	sizes := []int{0, 1, 2, 255, 256, 257, 65791, 65792, blockBytes - 1, blockBytes, blockBytes + 1,
		chunkBytes - 1, chunkBytes, chunkBytes + 1, 2 * chunkBytes, len(data)}
	for _, level := range []int{0, 1, 3, 6} {
		for _, size := range sizes {
			for threads := range 4 {
				img := pack(t, WriterOptions{Level: level, Threads: threads}, data[:size])
				got, err := unpack(img, threads)
				if err != nil || !bytes.Equal(got, data[:size]) {
					t.Fatalf("level %d size %d threads %d: %d bytes back, %v", level, size, threads, len(got), err)
				}
				if err := verify(img); err != nil {
					t.Fatalf("level %d size %d: verify: %v", level, size, err)
				}
				if size < chunkBytes {
					break
				}
			}
		}
	}
}

// TestZstd asks the zstd program whether what we write is what it reads.
func TestZstd(t *testing.T) {
	if _, err := exec.LookPath("zstd"); err != nil {
		t.Fatal("this test needs the zstd program: install the package zstd")
	}
	data := sample(3*chunkBytes + 777)
	random := make([]byte, chunkBytes+100)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(random)
	for _, level := range []int{0, 1, 3, 6} {
		for _, in := range [][]byte{nil, data[:1], data[:300], make([]byte, 2*chunkBytes), random, data} {
			img := pack(t, WriterOptions{Level: level}, in[:len(in)/3], in[len(in)/3:])
			cmd := exec.Command("zstd", "-dc")
			cmd.Stdin = bytes.NewReader(img)
			if got, err := cmd.Output(); err != nil || !bytes.Equal(got, in) {
				t.Errorf("level %d, %d bytes: zstd -dc printed %d bytes, %v", level, len(in), len(got), err)
			}
			cmd = exec.Command("zstd", "-t")
			cmd.Stdin = bytes.NewReader(img)
			if msg, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("level %d, %d bytes: zstd -t: %v: %s", level, len(in), err, msg)
			}
		}
	}
}

func TestHeaderText(t *testing.T) {
	img := pack(t, WriterOptions{}, []byte("x"))
	if !strings.HasPrefix(string(img[8:64]), "ckpt image\nversion 1\n\x00") {
		t.Errorf("the image begins with %q", img[:64])
	}
}

func TestCut(t *testing.T) {
	parts := [][]byte{sample(1000), sample(2*chunkBytes + 5), {}, sample(chunkBytes)}
	for _, level := range []int{0, DefaultLevel} {
		img := pack(t, WriterOptions{Level: level}, parts...)
		end, err := openTail(bytes.NewReader(img), int64(len(img)))
		if err != nil {
			t.Fatal(err)
		}
		var sizes []uint32
		for frame, err := range end.frames() {
			if err != nil {
				t.Fatal(err)
			}
			sizes = append(sizes, frame.content)
		}
		if want := "[1000 1048576 1048576 5 1048576]"; fmt.Sprint(sizes) != want {
			t.Errorf("frames hold %v bytes, want %s", sizes, want)
		}
		if all, err := unpack(img, 1); err != nil || !bytes.Equal(all, bytes.Join(parts, nil)) {
			t.Errorf("the frames together are not the stream: %v", err)
		}
	}
}

// TestSeekTable reads the table as its specification says, knowing nothing of this package.
func TestSeekTable(t *testing.T) {
	img := pack(t, WriterOptions{Level: 1}, sample(100), sample(2*chunkBytes))
	foot := img[len(img)-9:]
	n := int(le.Uint32(foot))
	if le.Uint32(foot[5:]) != 0x8F92EAB1 || foot[4] != 0x80 || n != 5 {
		t.Fatalf("footer % x", foot)
	}
	table := img[len(img)-9-12*n-8:]
	if le.Uint32(table) != 0x184D2A5E || int(le.Uint32(table[4:])) != len(table)-8 {
		t.Fatalf("table head % x", table[:8])
	}
	var off, content int
	for i := range n {
		e := table[8+12*i:]
		magic, size := le.Uint32(img[off:]), int(le.Uint32(e))
		content += int(le.Uint32(e[4:]))
		skipped := magic&^0xF == 0x184D2A50
		if skipped && size != int(le.Uint32(img[off+4:]))+8 || !skipped && magic != 0xFD2FB528 {
			t.Errorf("entry %d: size %d, frame begins with %#x", i, size, magic)
		}
		off += size
	}
	if off != len(img)-len(table) || content != 2*chunkBytes+100 {
		t.Errorf("the entries cover %d bytes with %d of content", off, content)
	}
}

// TestReadFrom feeds the Writer, and reads the Reader, in odd pieces.
func TestReadFrom(t *testing.T) {
	data := sample(2*chunkBytes + 999)
	sources := map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r },
		"half":  iotest.HalfReader,
		"err":   iotest.DataErrReader,
	}
	for name, source := range sources {
		for _, level := range []int{0, 1} {
			var img bytes.Buffer
			z, err := NewWriter(&img, WriterOptions{Level: level})
			if err != nil {
				t.Fatal(err)
			}
			n, err := z.ReadFrom(source(bytes.NewReader(data)))
			if err = errors.Join(err, z.Close()); err != nil || n != int64(len(data)) {
				t.Fatalf("%s: %d bytes, %v", name, n, err)
			}
			r := NewReader(source(&img), ReaderOptions{})
			got, err := io.ReadAll(iotest.HalfReader(struct{ io.Reader }{r}))
			if err = errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%s: %d bytes back, %v", name, len(got), err)
			}
		}
	}
}

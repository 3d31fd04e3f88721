package image

import (
	"bytes"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
)

// smallImages are images small enough to damage in every way, of stored and of compressed frames.
func smallImages(t testing.TB) map[string][]byte {
	text := []byte(strings.Repeat("the quick brown fox ", 20))
	return map[string][]byte{
		"empty":      pack(t, WriterOptions{}),
		"stored":     pack(t, WriterOptions{}, text[:50], text[:1]),
		"fast":       pack(t, WriterOptions{Level: 1}, text, sample(9000)[4000:5200]),
		"default":    pack(t, WriterOptions{Level: 3}, text, make([]byte, 300)),
		"compressed": pack(t, WriterOptions{Level: 9}, text, text[:7]),
	}
}

// checkDamage asserts that neither reader takes img, and that what Reader returned before it noticed is a
// beginning of the stream.
func checkDamage(t *testing.T, img, stream []byte, what string, n int) {
	t.Helper()
	got, rerr := unpack(img, 2)
	if !bytes.HasPrefix(stream, got) {
		t.Errorf("%s %d: Reader returned what is not in the stream", what, n)
	}
	verr := verify(img)
	for _, err := range []error{rerr, verr} {
		var at *FrameError
		known := errors.Is(err, ErrCorrupt) || errors.Is(err, ErrTruncated) || errors.Is(err, ErrForeign) ||
			errors.Is(err, ErrVersion)
		if !known || !errors.As(err, &at) || strings.Contains(err.Error(), "\n") {
			t.Fatalf("%s %d: Reader: %v, Verify: %v", what, n, rerr, verr)
		}
	}
}

// indexOffset returns where the index begins; before the file when its text is damaged.
func indexOffset(img []byte) int {
	return bytes.LastIndex(img, indexText) - skipHeadBytes
}

func TestEveryBit(t *testing.T) {
	checkGoroutines(t)
	for name, img := range smallImages(t) {
		stream, err := unpack(img, 1)
		if err != nil {
			t.Fatal(name, err)
		}
		for i := range img {
			for bit := range 8 {
				img[i] ^= 1 << bit
				checkDamage(t, img, stream, "byte", i)
				img[i] ^= 1 << bit
			}
		}
	}
}

func TestEveryTruncation(t *testing.T) {
	for name, img := range smallImages(t) {
		stream, _ := unpack(img, 1)
		for n := range img {
			checkDamage(t, img[:n], stream, "length", n)
			if _, err := unpack(img[:n], 1); !errors.Is(err, ErrTruncated) {
				t.Fatalf("%s cut to %d of %d: %v", name, n, len(img), err)
			}
			if err := verify(img[:n]); !errors.Is(err, ErrTruncated) {
				t.Fatalf("%s cut to %d of %d: verify: %v", name, n, len(img), err)
			}
		}
		for _, more := range [][]byte{{0}, img[:8], img, make([]byte, 100)} {
			checkDamage(t, append(bytes.Clone(img), more...), stream, "appended", len(more))
		}
	}
}

// TestFrameSwap exchanges, drops and doubles whole frames: each alone is good.
func TestFrameSwap(t *testing.T) {
	img := pack(t, WriterOptions{}, []byte("aaaa"), []byte("bbbb"), []byte("cccc"))
	const size = storedHeadBytes + 3 + 4 + 4
	head, a, b, rest := img[:64], img[64:64+size], img[64+size:64+2*size], img[64+2*size:]
	for i, parts := range [][][]byte{{head, b, a, rest}, {head, a, a, rest}, {head, a, rest}, {head, a, b, b, rest}} {
		got := bytes.Join(parts, nil)
		if _, err := unpack(got, 1); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d: Reader: %v", i, err)
		}
		if err := verify(got); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d: Verify: %v", i, err)
		}
	}
}

func TestForeignAndVersion(t *testing.T) {
	img := pack(t, WriterOptions{}, []byte("x"))
	later := bytes.Clone(img)
	copy(later[8:], "ckpt image\nversion 12\n")
	for _, c := range []struct {
		img  []byte
		want error
	}{
		{nil, ErrTruncated},
		{[]byte("#!/bin/sh\n"), ErrForeign},
		{img[64:], ErrForeign},
		{bytes.Repeat([]byte("text "), 100), ErrForeign},
		{later, ErrVersion},
		{later[:64], ErrVersion},
	} {
		_, rerr := unpack(c.img, 1)
		if verr := verify(c.img); !errors.Is(rerr, c.want) || !errors.Is(verr, c.want) {
			t.Errorf("%.20q: Reader: %v, Verify: %v, want %v", c.img, rerr, verr, c.want)
		}
	}
}

func TestGarbage(t *testing.T) {
	rnd := rand.NewChaCha8([32]byte{3})
	for range 300 {
		b := make([]byte, rnd.Uint64()%5000)
		_, _ = rnd.Read(b)
		for _, img := range [][]byte{b, append(headerFrame(), b...),
			append(le.AppendUint32(headerFrame(), frameMagic), b...),
			append(append(headerFrame(), b...), seekFooter(int64(len(b)/16))...)} {
			checkDamage(t, img, nil, "garbage", len(b))
		}
	}
}

// hostileFrames are data frames whose lengths lie.
func hostileFrames() map[string][]byte {
	frame := func(descriptor byte, rest ...byte) []byte {
		return append(append(le.AppendUint32(nil, frameMagic), descriptor), rest...)
	}
	many := frame(0x24, 200)
	for range maxFrameBytes / 3 {
		many = append(many, 0, 0, 0) // a raw block of no bytes
	}
	return map[string][]byte{
		"8 byte size":     frame(0xE4, 255, 255, 255, 255, 255, 255, 255, 127),
		"4 byte size":     frame(0xA4, 255, 255, 255, 255),
		"size + 1":        frame(0xA4, 1, 0, 16, 0),
		"no content":      frame(0x24, 0, 1, 0, 0, 0x99, 0xe9, 0xd8, 0x51),
		"window":          frame(0x04, 0xFF, 1, 0, 0),
		"dictionary":      frame(0x27, 1, 1, 1, 1, 200),
		"reserved bit":    frame(0x2C, 200),
		"unused bit":      frame(0x34, 1, 9, 0, 0, 'x', 0x23, 0x11, 0x04, 0x83),
		"no checksum":     frame(0x20, 1, 9, 0, 0, 'x'),
		"block size":      frame(0xA4, 0, 0, 16, 0, 0xF9, 0xFF, 0xFF),
		"block type":      frame(0x24, 200, 7, 0, 0),
		"RLE over":        frame(0x24, 2, 2|2<<3, 0, 0, 'x', 2|2<<3, 0, 0, 'x'),
		"endless blocks":  many,
		"less than said":  frame(0x24, 2, 1|1<<3, 0, 0, 'x', 0, 0, 0, 0),
		"bad compression": frame(0x24, 200, 5|8<<3, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0),
	}
}

func TestHostileLengths(t *testing.T) {
	for name, frame := range hostileFrames() {
		img := append(headerFrame(), frame...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := unpack(append(img, make([]byte, 100)...), 1)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrCorrupt) || len(got) > 0 {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
			t.Errorf("%s: %d bytes allocated", name, used)
		}
	}
	img := append(headerFrame(), make([]byte, 4000)...)
	for _, n := range []int64{-2, -1, 0, 1, 300, maxFrames, maxFrames + 1, 1<<32 - 3} {
		bad := append(bytes.Clone(img), seekFooter(n)...)
		if err := verify(bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d frames: %v", n, err)
		}
	}
}

// TestLyingEntries gives wrong tables right checksums, so that only the comparison with the frames finds them.
func TestLyingEntries(t *testing.T) {
	good := frameEntry{size: storedHeadBytes + 3 + 4 + 4, content: 4}
	data := pack(t, WriterOptions{}, []byte("data"))
	frame := data[headerBytes : headerBytes+good.size]
	good.sum = le.Uint32(frame[len(frame)-4:])
	good.crc = crc32.Checksum(frame, castagnoli)
	build := func(e frameEntry) []byte {
		img := bytes.Clone(data[:headerBytes+good.size])
		var table frameTable
		_ = table.add(e)
		_ = table.writeEnd(int64(len(img)), func(b []byte) error { img = append(img, b...); return nil })
		return img
	}
	if !bytes.Equal(build(good), data) {
		t.Fatal("the test builds another image than the Writer")
	}
	wrongCRC := bytes.Clone(data) // of the seek table, in an index that matches its own checksum
	index := wrongCRC[indexOffset(data) : len(data)-int(seekBytes(1))]
	index[32] ^= 1
	le.PutUint32(index[len(index)-crcBytes:], crc32.Checksum(index[:len(index)-crcBytes], castagnoli))
	_, rerr := unpack(wrongCRC, 1)
	if verr := verify(wrongCRC); !errors.Is(rerr, ErrCorrupt) || !errors.Is(verr, ErrCorrupt) {
		t.Errorf("checksum of the seek table: Reader: %v, Verify: %v", rerr, verr)
	}
	for i, change := range []func(*frameEntry){
		func(e *frameEntry) { e.size++ },
		func(e *frameEntry) { e.size-- },
		func(e *frameEntry) { e.size = 0 },
		func(e *frameEntry) { e.size = 1 << 31 },
		func(e *frameEntry) { e.content++ },
		func(e *frameEntry) { e.content = 0 },
		func(e *frameEntry) { e.content = 1 << 31 },
		func(e *frameEntry) { e.sum++ },
		func(e *frameEntry) { e.crc++ },
	} {
		e := good
		change(&e)
		img := build(e)
		_, rerr := unpack(img, 1)
		if verr := verify(img); !errors.Is(rerr, ErrCorrupt) || !errors.Is(verr, ErrCorrupt) {
			t.Errorf("lie %d: Reader: %v, Verify: %v", i, rerr, verr)
		}
	}
}

package image

import (
	"fmt"
	"runtime"

	"github.com/klauspost/compress/zstd"
)

// Levels a Writer takes. 0 stores; the others are numbered as those of the zstd program, and the encoder
// has three kinds: 1–2, 3–5 and 6–9. Its fourth, from 10 on, is left out: it needs 40 MiB for each thread,
// which it clears for each frame, so that 28 MB/s gained half a percent of the size (BenchmarkWrite's data).
const (
	MinLevel     = 0
	DefaultLevel = 1
	MaxLevel     = 9
)

// maxThreads bounds what Threads can ask for, and so the memory.
const maxThreads = 64

// threadCount turns the Threads option into a number: 0 means one for each processor the program may use,
// but not more than 4.
func threadCount(n int) (int, error) {
	switch {
	case n == 0:
		return min(runtime.GOMAXPROCS(0), 4), nil
	case n < 0 || n > maxThreads:
		return 0, fmt.Errorf("image: %d threads, must be 0 (one for each processor) to %d", n, maxThreads)
	}
	return n, nil
}

// newEncoder returns an encoder whose EncodeAll may be called by that many goroutines at once. It has no
// goroutines of its own as long as nothing but EncodeAll is used, so it is never closed.
func newEncoder(level, threads int) (*zstd.Encoder, error) {
	return zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)),
		zstd.WithEncoderConcurrency(threads),
		zstd.WithWindowSize(chunkBytes),
		zstd.WithLowerEncoderMem(true),
		zstd.WithSingleSegment(true),
		zstd.WithEncoderCRC(true))
}

// newDecoder is the counterpart: only DecodeAll is used, with a destination of sufficient capacity.
func newDecoder(threads int) (*zstd.Decoder, error) {
	return zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(threads),
		zstd.WithDecoderMaxMemory(chunkBytes),
		zstd.WithDecoderMaxWindow(chunkBytes),
		zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderLowmem(true))
}

// decodeSlack is how much capacity beyond the content DecodeAll gets: the decoder copies in strides and is
// faster when it may write a little behind the content.
const decodeSlack = 64

// smallBytes is the capacity of buffers as long as all frames are small.
const smallBytes = 64 << 10

// grow returns b with room for n bytes, n being within the bounds of a frame: smallBytes or all a frame can need.
func grow(b []byte, n int) []byte {
	if n <= cap(b) {
		return b
	}
	size := maxFrameBytes
	if n <= smallBytes {
		size = smallBytes
	}
	return append(make([]byte, 0, size), b...)
}

// decodeFrame decompresses one walked frame into buf, grown as needed. The decoder compares the content's
// XXH64 with the frame's checksum.
func decodeFrame(dec *zstd.Decoder, frame, buf []byte, content int) ([]byte, error) {
	buf = grow(buf[:0], content+decodeSlack)
	out, err := dec.DecodeAll(frame, buf)
	if err != nil {
		return nil, fmt.Errorf("%w: a frame does not decompress: %v", ErrCorrupt, err)
	}
	if len(out) != content {
		return nil, corrupt("a frame has less content than it says")
	}
	return out, nil
}

package image

import (
	"fmt"
	"hash/crc32"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
)

// storedHeadBytes is the header of a stored frame: magic, descriptor, four bytes of content size.
const storedHeadBytes = 4 + 1 + 4

// chunk is a data frame in the making. Its content is read straight to where it is needed: for a stored
// frame that is the frame itself, with room left for the header, each block's header and the checksum.
type chunk struct {
	stored bool
	buf    []byte // content, or the stored frame
	n      int    // bytes of content
	frame  []byte // the finished frame
	crc    uint32
	err    error
	done   chan struct{} // has a value when frame, crc and err are set
}

func newChunk(stored bool) *chunk {
	c := &chunk{stored: stored, done: make(chan struct{}, 1)}
	if stored {
		c.buf = make([]byte, maxFrameBytes)
	} else {
		c.buf = make([]byte, chunkBytes)
		c.frame = make([]byte, 0, maxFrameBytes)
	}
	return c
}

func (c *chunk) full() bool { return c.n == chunkBytes }

// space returns where the next bytes of content go; empty only when the chunk is full.
func (c *chunk) space() []byte {
	if c.full() || !c.stored {
		return c.buf[c.n:chunkBytes]
	}
	heads := storedHeadBytes + 3*(c.n/blockBytes+1)
	blockEnd := (c.n/blockBytes + 1) * blockBytes
	return c.buf[heads+c.n : heads+blockEnd]
}

// encode makes the frame.
func (c *chunk) encode(enc *zstd.Encoder) {
	if c.stored {
		c.store()
		return
	}
	c.frame = enc.EncodeAll(c.buf[:c.n], c.frame[:0])
	c.crc = crc32.Checksum(c.frame, castagnoli)
	if len(c.frame) > maxFrameBytes {
		c.err = fmt.Errorf("image: the encoder made %d bytes of %d", len(c.frame), c.n)
	}
}

// store fills in what is missing for the chunk to be a frame of raw blocks.
func (c *chunk) store() {
	head := le.AppendUint32(c.buf[:0], frameMagic)
	head = append(head, 2<<6|descriptorWanted)
	at := len(le.AppendUint32(head, uint32(c.n)))
	c.crc = crc32.Checksum(c.buf[:at], castagnoli)
	var sum xxhash.Digest
	sum.Reset()
	for left := c.n; left > 0; {
		size := min(left, blockBytes)
		left -= size
		h := size<<3 | blockRaw<<1
		if left == 0 {
			h |= 1
		}
		block := c.buf[at : at+3+size]
		block[0], block[1], block[2] = byte(h), byte(h>>8), byte(h>>16)
		_, _ = sum.Write(block[3:]) // never fails
		c.crc = crc32.Update(c.crc, castagnoli, block)
		at += len(block)
	}
	c.frame = le.AppendUint32(c.buf[:at], uint32(sum.Sum64()))
	c.crc = crc32.Update(c.crc, castagnoli, c.frame[at:])
}

// entry is what the index and the seek table will say about the finished frame.
func (c *chunk) entry() frameEntry {
	return frameEntry{
		size:    uint32(len(c.frame)),
		content: uint32(c.n),
		sum:     le.Uint32(c.frame[len(c.frame)-4:]),
		crc:     c.crc,
	}
}

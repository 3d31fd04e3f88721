package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// Sizes and numbers of the format; doc.go has the layout.
const (
	version = 1

	chunkBytes    = 1 << 20               // content of a full data frame
	maxFrameBytes = chunkBytes + 4<<10    // a data frame in the file
	minFrameBytes = 4 + 1 + 1 + 3 + 1 + 4 // magic, descriptor, content size, one block of one byte, checksum
	blockBytes    = 128 << 10             // Block_Maximum_Size, RFC 8878 section 3.1.1.2.4

	frameMagic      = 0xFD2FB528
	headerMagic     = 0x184D2A5C
	indexMagic      = 0x184D2A5D
	seekMagic       = 0x184D2A5E
	seekFooterMagic = 0x8F92EAB1

	skipHeadBytes   = 8 // magic and size of a skippable frame
	headerBytes     = 64
	indexHeadBytes  = 56
	crcBytes        = 4
	seekEntryBytes  = 12
	seekFooterBytes = 9
	seekChecksums   = 0x80 // Seek_Table_Descriptor: Checksum_Flag

	streamMagic = "\x89CKPT\r\n\x1a" // what a stream begins with, see package stream

	emptySum = 0x51D8E999 // low half of the XXH64 of nothing

	// maxFrames is how many data frames an image may have. The reference seekable reader stops at
	// ZSTD_SEEKABLE_MAXFRAMES (0x8000000) entries, header and index included: 128 TiB in full frames.
	maxFrames = 0x8000000 - 2

	tableBufBytes = 64 << 10 // index and seek table are read and written in pieces of this size
)

// FirstByte is what an image begins with, and a stream does not.
const FirstByte = headerMagic & 0xff

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	headerText = []byte("ckpt image\nversion ")
	indexText  = []byte("ckpt image index")
)

// frameEntry is what the index and the seek table say about one frame.
type frameEntry struct {
	size    uint32 // bytes in the file
	content uint32 // bytes of the stream in it
	sum     uint32 // low half of the XXH64 of the content
	crc     uint32 // CRC32C of its bytes in the file; data frames only
}

// appendSeek appends the frame's entry in the seek table.
func (e frameEntry) appendSeek(b []byte) []byte {
	b = le.AppendUint32(b, e.size)
	b = le.AppendUint32(b, e.content)
	return le.AppendUint32(b, e.sum)
}

// parseSeek is the inverse of appendSeek.
func parseSeek(b []byte) frameEntry {
	return frameEntry{size: le.Uint32(b), content: le.Uint32(b[4:]), sum: le.Uint32(b[8:])}
}

// skippedEntry is the seek table entry of a skippable frame that takes size bytes of the file.
func skippedEntry(size int64) frameEntry {
	return frameEntry{size: uint32(size), sum: emptySum}
}

// indexBytes and seekBytes are the whole sizes of the last two frames when there are n data frames.
func indexBytes(n int64) int64 { return indexHeadBytes + crcBytes*n + crcBytes }
func seekBytes(n int64) int64  { return skipHeadBytes + seekEntryBytes*(n+2) + seekFooterBytes }

// headerFrame returns the first frame of an image.
func headerFrame() []byte {
	b := make([]byte, 0, headerBytes)
	b = le.AppendUint32(b, headerMagic)
	b = le.AppendUint32(b, headerBytes-skipHeadBytes)
	b = append(b, headerText...)
	b = fmt.Appendf(b, "%d\n", version)
	return b[:headerBytes]
}

// checkHeader judges the first headerBytes of a file, or all of it when it is shorter.
func checkHeader(b []byte) error {
	want := headerFrame()
	if len(b) < headerBytes && bytes.HasPrefix(want, b) {
		return fmt.Errorf("%w: the file ends inside its header", ErrTruncated)
	}
	at := skipHeadBytes + len(headerText)
	if len(b) < at || le.Uint32(b) != headerMagic || !bytes.Equal(b[skipHeadBytes:at], headerText) {
		if bytes.HasPrefix(b, []byte(streamMagic)) {
			return ErrStream
		}
		return ErrForeign
	}
	if v, ok := parseVersion(b[at:]); ok && v > version {
		return fmt.Errorf("%w: it has version %d, this program reads version %d", ErrVersion, v, version)
	}
	if !bytes.Equal(b, want) {
		return fmt.Errorf("%w: its header is not that of version %d", ErrCorrupt, version)
	}
	return nil
}

// parseVersion reads the decimal number before the first newline.
func parseVersion(b []byte) (v int, ok bool) {
	for i, c := range b {
		switch {
		case c == '\n':
			return v, i > 0
		case c < '0' || c > '9' || i >= 9:
			return 0, false
		}
		v = v*10 + int(c-'0')
	}
	return 0, false
}

// indexHead is the fixed part of the index.
type indexHead struct {
	frames  int64  // number of data frames
	seekCRC uint32 // CRC32C of the seek table frame
	content int64  // bytes of the stream
	offset  int64  // where the index begins in the file
}

// append appends the first indexHeadBytes of the index frame.
func (h indexHead) append(b []byte) []byte {
	b = le.AppendUint32(b, indexMagic)
	b = le.AppendUint32(b, uint32(indexBytes(h.frames)-skipHeadBytes))
	b = append(b, indexText...)
	b = le.AppendUint32(b, uint32(h.frames))
	b = le.AppendUint32(b, crc32.Checksum(headerFrame(), castagnoli))
	b = le.AppendUint32(b, h.seekCRC)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, uint64(h.content))
	return le.AppendUint64(b, uint64(h.offset))
}

// check compares the head of an index with what it must be; only the seek table's CRC is taken from b.
func (h *indexHead) check(b []byte) error {
	h.seekCRC = le.Uint32(b[32:])
	if !bytes.Equal(b, h.append(make([]byte, 0, indexHeadBytes))) {
		return fmt.Errorf("%w: its index does not agree with its frames", ErrCorrupt)
	}
	return nil
}

// seekHead and seekFooter are the first and last bytes of the seek table of n data frames.
func seekHead(n int64) []byte {
	b := le.AppendUint32(nil, seekMagic)
	return le.AppendUint32(b, uint32(seekBytes(n)-skipHeadBytes))
}

func seekFooter(n int64) []byte {
	b := le.AppendUint32(nil, uint32(n+2))
	b = append(b, seekChecksums)
	return le.AppendUint32(b, seekFooterMagic)
}

// crcReader is a reader that keeps the CRC32C of what went through it.
type crcReader struct {
	r   io.Reader
	crc uint32
}

func (c *crcReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.crc = crc32.Update(c.crc, castagnoli, p[:n])
	return n, err
}

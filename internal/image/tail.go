package image

import (
	"bufio"
	"bytes"
	"hash/crc32"
	"io"
	"iter"
)

// tail is the checked end of a seekable image: where index and seek table are and how many frames they
// describe. Their entries stay in the file.
type tail struct {
	f     io.ReaderAt
	head  indexHead
	seek  int64 // offset of the seek table
	frame int64 // number of the index, for errors
}

// readAt fills b from offset off of an image; what and frame are for the error.
func readAt(f io.ReaderAt, b []byte, off, frame int64, what string) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return &FrameError{Offset: off + int64(n), Frame: frame, Err: readError(err, what)}
}

// openTail checks header, index and seek table of an image of the given size, all but the agreement of
// the seek table's entries with the frames.
func openTail(f io.ReaderAt, size int64) (*tail, error) {
	head := make([]byte, min(max(size, 0), headerBytes))
	if err := readAt(f, head, 0, 0, "the header"); err != nil {
		return nil, err
	}
	if err := checkHeader(head); err != nil {
		return nil, &FrameError{Err: err}
	}
	t, err := findTail(f, size)
	if err != nil {
		return nil, err
	}
	if err := t.checkIndex(); err != nil {
		return nil, err
	}
	return t, t.checkSeek()
}

// findTail computes from the footer where the last two frames begin.
func findTail(f io.ReaderAt, size int64) (*tail, error) {
	missing := &FrameError{Offset: size, Frame: 1, Err: readError(io.EOF, "the data, before its index")}
	if size < headerBytes+indexBytes(0)+seekBytes(0) {
		return nil, missing
	}
	foot := make([]byte, seekFooterBytes)
	if err := readAt(f, foot, size-seekFooterBytes, 1, "the seek table"); err != nil {
		return nil, err
	}
	if le.Uint32(foot[5:]) != seekFooterMagic {
		return nil, missing
	}
	n := int64(le.Uint32(foot)) - 2
	if n < 0 || n > maxFrames || foot[4] != seekChecksums {
		return nil, &FrameError{Offset: size - seekFooterBytes, Frame: 1,
			Err: corrupt("its seek table does not end as that of an image")}
	}
	seek := size - seekBytes(n)
	index := seek - indexBytes(n)
	if index < headerBytes+minFrameBytes*n {
		return nil, &FrameError{Offset: size - seekFooterBytes, Frame: n + 2,
			Err: corrupt("its seek table has more frames than fit into the file")}
	}
	return &tail{f: f, seek: seek, frame: n + 1, head: indexHead{frames: n, offset: index}}, nil
}

// section returns a buffered reader of a part of the file.
func (t *tail) section(off, n int64) *bufio.Reader {
	return bufio.NewReaderSize(io.NewSectionReader(t.f, off, n), tableBufBytes)
}

func (t *tail) checkIndex() error {
	fail := func(err error) error {
		return &FrameError{Offset: t.head.offset, Frame: t.frame, Err: err}
	}
	size := indexBytes(t.head.frames)
	head := make([]byte, indexHeadBytes)
	if err := readAt(t.f, head, t.head.offset, t.frame, "the index"); err != nil {
		return err
	}
	t.head.content = int64(le.Uint64(head[40:]))
	if err := t.head.check(head); err != nil {
		return fail(err)
	}
	crc := &crcReader{r: io.NewSectionReader(t.f, t.head.offset, size-crcBytes)}
	if err := drain(crc, size-crcBytes); err != nil {
		return fail(readError(err, "the index"))
	}
	end := make([]byte, crcBytes)
	if err := readAt(t.f, end, t.seek-crcBytes, t.frame, "the index"); err != nil {
		return err
	}
	if le.Uint32(end) != crc.crc {
		return fail(corrupt("its index does not match its own checksum"))
	}
	return nil
}

func (t *tail) checkSeek() error {
	fail := func(err error) error {
		return &FrameError{Offset: t.seek, Frame: t.frame + 1, Err: err}
	}
	size := seekBytes(t.head.frames)
	head := make([]byte, skipHeadBytes)
	if err := readAt(t.f, head, t.seek, t.frame+1, "the seek table"); err != nil {
		return err
	}
	crc := &crcReader{r: io.NewSectionReader(t.f, t.seek, size)}
	if err := drain(crc, size); err != nil {
		return fail(readError(err, "the seek table"))
	}
	if crc.crc != t.head.seekCRC || !bytes.Equal(head, seekHead(t.head.frames)) {
		return fail(corrupt("its seek table does not match the checksum in its index"))
	}
	return nil
}

// drain reads exactly n bytes of r.
func drain(r io.Reader, n int64) error {
	buf := make([]byte, tableBufBytes)
	for n > 0 {
		k, err := io.ReadFull(r, buf[:min(n, tableBufBytes)])
		if err != nil {
			return err
		}
		n -= int64(k)
	}
	return nil
}

// dataFrame is one data frame of an image.
type dataFrame struct {
	offset int64 // where the frame begins in the file
	number int64 // the first data frame is 1
	frameEntry
}

// frames yields the data frames from the two tables and checks that all frames together tile the file. An
// error is the last thing it yields.
func (t *tail) frames() iter.Seq2[dataFrame, error] {
	return func(yield func(dataFrame, error) bool) {
		n := t.head.frames
		seeks := t.section(t.seek+skipHeadBytes, seekEntryBytes*(n+2))
		crcs := t.section(t.head.offset+indexHeadBytes, crcBytes*n)
		var off, content int64
		for i := range n + 2 {
			e, err := t.entry(i, seeks, crcs)
			if err != nil {
				yield(dataFrame{}, &FrameError{Offset: off, Frame: i, Err: err})
				return
			}
			if i > 0 && i <= n && !yield(dataFrame{offset: off, number: i, frameEntry: e}, nil) {
				return
			}
			off += int64(e.size)
			content += int64(e.content)
		}
		if off != t.seek || content != t.head.content {
			yield(dataFrame{}, &FrameError{Offset: t.seek, Frame: n + 2,
				Err: corrupt("the frames in its seek table do not fill the file")})
		}
	}
}

// entry reads and checks what the tables say about frame i.
func (t *tail) entry(i int64, seeks, crcs io.Reader) (frameEntry, error) {
	var b [seekEntryBytes]byte
	if _, err := io.ReadFull(seeks, b[:]); err != nil {
		return frameEntry{}, readError(err, "the seek table")
	}
	e := parseSeek(b[:])
	wrong := corrupt("its seek table has an entry that no frame has")
	switch {
	case i == 0 && e != skippedEntry(headerBytes):
		return e, wrong
	case i == t.frame && e != skippedEntry(indexBytes(t.head.frames)):
		return e, wrong
	case i == 0 || i == t.frame:
		return e, nil
	case e.size < minFrameBytes || e.size > maxFrameBytes || e.content == 0 || e.content > chunkBytes:
		return e, wrong
	}
	if _, err := io.ReadFull(crcs, b[:crcBytes]); err != nil {
		return e, readError(err, "the index")
	}
	e.crc = le.Uint32(b[:])
	return e, nil
}

// checkFrame compares a data frame as read from the file with its entry.
func (e *frameEntry) checkFrame(b []byte) error {
	if crc32.Checksum(b, castagnoli) != e.crc {
		return corrupt("a frame does not match its checksum in the index")
	}
	content, sum, err := walkFrame(b)
	if err != nil {
		return err
	}
	if content != int(e.content) || sum != e.sum {
		return corrupt("a frame does not agree with its entry in the seek table")
	}
	return nil
}

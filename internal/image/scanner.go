package image

import (
	"bytes"
	"hash/crc32"
	"io"

	"github.com/cespare/xxhash/v2"
)

// scanner reads an image from front to back and finds its frames. Of the data frames it keeps no more than
// hashes of what the index and the seek table must say about them.
type scanner struct {
	src      io.Reader
	offset   int64 // bytes read
	frames   int64 // data frames found
	number   int64 // the frame being read
	total    int64 // content of the data frames
	crcs     xxhash.Digest
	seeks    xxhash.Digest
	tmp      []byte
	follows  string // what may follow
	followed bool   // it does
}

func newScanner(src io.Reader) *scanner {
	s := &scanner{src: src}
	s.crcs.Reset()
	s.seeks.Reset()
	return s
}

// expect adds a frame to what the index and the seek table must say.
func (s *scanner) expect(e frameEntry) {
	s.tmp = e.appendSeek(s.tmp[:0])
	_, _ = s.seeks.Write(s.tmp) // never fails
}

// fail says where err was found.
func (s *scanner) fail(offset int64, err error) error {
	return &FrameError{Offset: offset, Frame: s.number, Err: err}
}

// read fills b, which is part of what.
func (s *scanner) read(b []byte, what string) error {
	n, err := io.ReadFull(s.src, b)
	s.offset += int64(n)
	if err != nil {
		return s.fail(s.offset, readError(err, what))
	}
	return nil
}

// header reads and checks the first frame.
func (s *scanner) header() error {
	b := make([]byte, headerBytes)
	n, err := io.ReadFull(s.src, b)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return s.fail(int64(n), readError(err, "the header"))
	}
	if err := checkHeader(b[:n]); err != nil {
		return s.fail(0, err)
	}
	s.offset = headerBytes
	s.number = 1
	s.expect(skippedEntry(headerBytes))
	return nil
}

// next reads the next data frame into p. At the end of the image, all of it good, it returns io.EOF.
func (s *scanner) next(p *piece) error {
	p.offset, p.number = s.offset, s.number
	p.frame = grow(p.frame[:0], 4)[:4]
	if err := s.read(p.frame, "the data, before a frame"); err != nil {
		return err
	}
	if le.Uint32(p.frame) == indexMagic {
		return s.tail()
	}
	if s.frames == maxFrames {
		return s.fail(p.offset, corrupt("it has more frames than an image can have"))
	}
	w := newFrameWalk()
	for !w.done() {
		have := len(p.frame)
		p.frame = grow(p.frame, w.need)[:w.need]
		if err := s.read(p.frame[have:], "a data frame"); err != nil {
			return err
		}
		if err := w.step(p.frame); err != nil {
			return s.fail(p.offset, err)
		}
	}
	p.content = w.content
	crc := crc32.Checksum(p.frame, castagnoli)
	s.tmp = le.AppendUint32(s.tmp[:0], crc)
	_, _ = s.crcs.Write(s.tmp) // never fails
	s.expect(frameEntry{size: uint32(len(p.frame)), content: uint32(w.content), sum: w.sum})
	s.total += int64(w.content)
	s.frames++
	s.number++
	return nil
}

// tail reads index and seek table, the first's magic being read already, and returns io.EOF if they
// are good and nothing follows but what may.
func (s *scanner) tail() error {
	seekCRC, err := s.index()
	if err != nil {
		return err
	}
	s.number++
	if err := s.seekTable(seekCRC); err != nil {
		return err
	}
	s.number++
	more := make([]byte, max(1, len(s.follows)))
	n, err := io.ReadFull(s.src, more)
	if s.followed = n > 0 && string(more[:n]) == s.follows; s.followed {
		return io.EOF
	}
	if n > 0 {
		return s.fail(s.offset, corrupt("something follows its end"))
	}
	if err != io.EOF {
		return s.fail(s.offset, readError(err, "the end"))
	}
	return io.EOF
}

// index reads the index behind its magic and returns the CRC32C it gives for the seek table.
func (s *scanner) index() (seekCRC uint32, err error) {
	start := s.offset - 4
	want := indexHead{frames: s.frames, content: s.total, offset: start}
	head := le.AppendUint32(make([]byte, 0, indexHeadBytes), indexMagic)[:indexHeadBytes]
	if err := s.read(head[4:], "the index"); err != nil {
		return 0, err
	}
	if err := want.check(head); err != nil {
		return 0, s.fail(start, err)
	}
	crc := crc32.Checksum(head, castagnoli)
	sum, err := s.hash(crcBytes*s.frames, &crc, "the index")
	if err != nil {
		return 0, err
	}
	end := make([]byte, crcBytes)
	if err := s.read(end, "the index"); err != nil {
		return 0, err
	}
	if le.Uint32(end) != crc {
		return 0, s.fail(start, corrupt("its index does not match its own checksum"))
	}
	if sum != s.crcs.Sum64() {
		return 0, s.fail(start, corrupt("the frames do not match the checksums in its index"))
	}
	s.expect(skippedEntry(indexBytes(s.frames)))
	return want.seekCRC, nil
}

// seekTable reads the last frame.
func (s *scanner) seekTable(wantCRC uint32) error {
	start := s.offset
	head := make([]byte, skipHeadBytes)
	if err := s.read(head, "the seek table"); err != nil {
		return err
	}
	if !bytes.Equal(head, seekHead(s.frames)) {
		return s.fail(start, corrupt("its seek table is not the one of its frames"))
	}
	crc := crc32.Checksum(head, castagnoli)
	sum, err := s.hash(seekEntryBytes*(s.frames+2), &crc, "the seek table")
	if err != nil {
		return err
	}
	foot := make([]byte, seekFooterBytes)
	if err := s.read(foot, "the seek table"); err != nil {
		return err
	}
	crc = crc32.Update(crc, castagnoli, foot)
	if sum != s.seeks.Sum64() || !bytes.Equal(foot, seekFooter(s.frames)) {
		return s.fail(start, corrupt("its seek table does not agree with its frames"))
	}
	if crc != wantCRC {
		return s.fail(start, corrupt("its seek table does not match the checksum in its index"))
	}
	return nil
}

// hash reads n bytes, adds them to crc and returns their XXH64.
func (s *scanner) hash(n int64, crc *uint32, what string) (uint64, error) {
	var sum xxhash.Digest
	sum.Reset()
	buf := make([]byte, min(n, tableBufBytes))
	for n > 0 {
		b := buf[:min(n, tableBufBytes)]
		if err := s.read(b, what); err != nil {
			return 0, err
		}
		*crc = crc32.Update(*crc, castagnoli, b)
		_, _ = sum.Write(b) // never fails
		n -= int64(len(b))
	}
	return sum.Sum64(), nil
}

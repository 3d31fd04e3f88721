package image

import (
	"fmt"
	"hash/crc32"
)

// frameTable remembers the data frames for the end of the file. It grows by whole pages, so nothing is
// ever copied.
type frameTable struct {
	pages   [][]frameEntry
	frames  int64
	content int64 // bytes of the stream in them
}

const tablePage = 4096 // entries

func (t *frameTable) add(e frameEntry) error {
	if t.frames == maxFrames {
		return fmt.Errorf("image: more than %d frames", maxFrames)
	}
	if t.frames%tablePage == 0 {
		t.pages = append(t.pages, make([]frameEntry, 0, tablePage))
	}
	last := &t.pages[len(t.pages)-1]
	*last = append(*last, e)
	t.frames++
	t.content += int64(e.content)
	return nil
}

// writeEnd writes the index, which begins at offset in the file, and the seek table.
func (t *frameTable) writeEnd(offset int64, put func([]byte) error) error {
	head := indexHead{frames: t.frames, content: t.content, offset: offset}
	seek := func(b []byte) error {
		head.seekCRC = crc32.Update(head.seekCRC, castagnoli, b)
		return nil
	}
	if err := t.writeSeek(seek); err != nil {
		return err
	}
	if err := t.writeIndex(head, put); err != nil {
		return err
	}
	return t.writeSeek(put)
}

func (t *frameTable) writeIndex(head indexHead, put func([]byte) error) error {
	var crc uint32
	sum := func(b []byte) error {
		crc = crc32.Update(crc, castagnoli, b)
		return put(b)
	}
	b := head.append(make([]byte, 0, tableBufBytes))
	for _, page := range t.pages {
		for _, e := range page {
			b = le.AppendUint32(b, e.crc)
		}
		if err := sum(b); err != nil {
			return err
		}
		b = b[:0]
	}
	if err := sum(b); err != nil {
		return err
	}
	return put(le.AppendUint32(nil, crc))
}

func (t *frameTable) writeSeek(put func([]byte) error) error {
	b := append(make([]byte, 0, tableBufBytes), seekHead(t.frames)...)
	b = skippedEntry(headerBytes).appendSeek(b)
	for _, page := range t.pages {
		for _, e := range page {
			b = e.appendSeek(b)
		}
		if err := put(b); err != nil {
			return err
		}
		b = b[:0]
	}
	b = skippedEntry(indexBytes(t.frames)).appendSeek(b)
	return put(append(b, seekFooter(t.frames)...))
}

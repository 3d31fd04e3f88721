package image

import (
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Entry is one data frame of an image.
type Entry struct {
	Offset int64 // where the frame begins in the file
	Number int64 // the number of the frame; the first data frame is 1
	frameEntry
}

// Size returns the bytes the frame takes of the file.
func (e Entry) Size() int64 { return int64(e.size) }

// Content returns the bytes of the stream in the frame.
func (e Entry) Content() int64 { return int64(e.content) }

// Entries returns the data frames of an image of the given size in bytes. Header, index and seek table
// are checked, the frames are not read.
func Entries(f io.ReaderAt, size int64) ([]Entry, error) {
	t, err := openTail(f, size)
	if err != nil {
		return nil, err
	}
	var list []Entry
	for e, err := range t.frames() {
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

var oneDecoder = sync.OnceValues(func() (*zstd.Decoder, error) { return newDecoder(1) })

// ReadFrame returns the content of one frame of the image that e was taken from, verified.
func ReadFrame(f io.ReaderAt, e Entry) ([]byte, error) {
	dec, err := oneDecoder()
	if err != nil {
		return nil, err
	}
	if e.size > maxFrameBytes {
		return nil, &FrameError{Offset: e.Offset, Frame: e.Number, Err: corrupt("a frame is larger than any image has")}
	}
	frame := make([]byte, e.size)
	if err := readAt(f, frame, e.Offset, e.Number, "a data frame"); err != nil {
		return nil, err
	}
	if err = e.checkFrame(frame); err == nil {
		var out []byte
		if out, err = decodeFrame(dec, frame, nil, int(e.content)); err == nil {
			return out, nil
		}
	}
	return nil, &FrameError{Offset: e.Offset, Frame: e.Number, Err: err}
}

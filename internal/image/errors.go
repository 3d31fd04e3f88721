package image

import (
	"errors"
	"fmt"
	"io"
)

// What can be wrong with an image. Errors of this package wrap one of these, or the error of the file
// underneath, in a FrameError.
var (
	// ErrForeign: the input is not an image.
	ErrForeign = errors.New("not a ckpt image")
	// ErrStream: the input is a stream, not the image of one.
	ErrStream = fmt.Errorf("%w but a record stream", ErrForeign)
	// ErrVersion: the image has a later format than this package knows.
	ErrVersion = errors.New("the image was made by a newer ckpt")
	// ErrTruncated: the image is good as far as it goes, but its end is missing.
	ErrTruncated = errors.New("the image is incomplete")
	// ErrCorrupt: the image was changed after it was written, or never was one.
	ErrCorrupt = errors.New("the image is damaged")
	// ErrClosed: Write, Cut or Close after Close or Abort, or Read after Close.
	ErrClosed = errors.New("the image is closed")
)

// FrameError says where in an image something was found wrong.
type FrameError struct {
	Offset int64 // byte in the file: where the frame begins, or where the file ended or could not be read
	Frame  int64 // number of the frame, the header being 0
	Err    error
}

func (e *FrameError) Error() string {
	return fmt.Sprintf("%v (byte %d, frame %d)", e.Err, e.Offset, e.Frame)
}

func (e *FrameError) Unwrap() error { return e.Err }

// corrupt makes an ErrCorrupt with the reason.
func corrupt(reason string) error { return fmt.Errorf("%w: %s", ErrCorrupt, reason) }

// readError turns the error of a read that had to succeed into one of this package. An end of file is a
// truncation.
func readError(err error, what string) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends inside %s", ErrTruncated, what)
	}
	return fmt.Errorf("reading %s of the image: %w", what, err)
}

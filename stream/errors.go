package stream

import (
	"errors"
	"fmt"

	"ckpt/stream/record"
)

// What can be wrong with a stream, for callers that branch on it.
var (
	// ErrForeign: the input does not begin with Magic.
	ErrForeign = errors.New("the input is not a ckpt record stream")
	// ErrImage: it begins as an image does, the file that a stream is kept in.
	ErrImage = fmt.Errorf("%w but an image", ErrForeign)
	// ErrVersion: a stream of a major version this package does not read.
	ErrVersion = errors.New("the stream's version is not supported")
	// ErrCorrupt: a checksum, length, flag or total does not hold.
	ErrCorrupt = errors.New("the stream is corrupt")
	// ErrTruncated: the input ended before END: whatever wrote it died.
	ErrTruncated = errors.New("the stream ends before its END record")
	// ErrTrailing: bytes follow the END record.
	ErrTrailing = errors.New("bytes follow the stream's END record")
)

// RecordError says where in a stream something was wrong.
type RecordError struct {
	Index  int64       // the record's number, from 0
	Type   record.Type // 0 when its header could not be read
	Offset int64       // where the record begins, in bytes from the stream's start
	Err    error
}

func (e *RecordError) Error() string {
	if e.Type == 0 {
		return fmt.Sprintf("record %d at byte %d: %v", e.Index, e.Offset, e.Err)
	}
	return fmt.Sprintf("record %d (%v) at byte %d: %v", e.Index, e.Type, e.Offset, e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

// AbortError is what Reader.Next returns at an ABORT record: an earlier filter
// failed, has told the user why, and passes its reason on.
type AbortError struct{ record.Abort }

func (e *AbortError) Error() string {
	return fmt.Sprintf("%s gave up: %s", e.Tool, e.Reason)
}

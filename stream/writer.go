package stream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"ckpt/stream/record"
)

const (
	// spliceMinBytes is the least amount worth the two more system calls of
	// splice(2).
	spliceMinBytes = 16 << 10
	// copyBytes is how much is copied at once where splice can't be used.
	copyBytes = 256 << 10
)

// Writer writes a stream. Errors stick: after the first, every call returns it.
type Writer struct {
	dst     io.Writer
	buf     *bufio.Writer // in front of dst
	chunk   []byte        // for copying, made when needed
	file    *os.File      // non-nil when splice can be tried
	err     error
	total   totals
	begun   bool
	ended   bool
	version Version
	owed    int64 // data bytes of the current record not yet written
}

// NewWriter returns a Writer to w. When w is an *os.File, data that comes
// from one is moved by splice(2) where the kernel can.
func NewWriter(w io.Writer) *Writer {
	f, _ := w.(*os.File)
	return &Writer{dst: w, buf: bufio.NewWriterSize(w, 64<<10), file: f, version: current}
}

// SetVersion says which version the stream is of, before its first record is
// written. A filter writes the version it read, for what it does not know it
// passes on; Pump does so.
func (w *Writer) SetVersion(v Version) error {
	if w.begun {
		return errors.New("the stream's version is written already")
	}
	if err := v.check(); err != nil {
		return err
	}
	w.version = v
	return nil
}

// Write writes rec and, from data, exactly rec.DataLen bytes. An END record
// gets the totals of what this Writer wrote, whatever it came with; HEADER,
// END and ABORT are flushed at once.
func (w *Writer) Write(rec *Record, data io.Reader) error {
	if w.err != nil {
		return w.err
	}
	if w.err = w.write(rec, data); w.err != nil {
		return w.err
	}
	return nil
}

func (w *Writer) write(rec *Record, data io.Reader) error {
	if w.ended {
		return errors.New("a record after the stream's end")
	}
	if !w.begun {
		w.begun = true
		if _, err := w.buf.Write(appendPreamble(nil, w.version)); err != nil {
			return err
		}
	}
	if rec.Type == record.TypeEnd {
		patched := *rec
		if err := patched.Set(w.total.fields()); err != nil {
			return err
		}
		rec = &patched
	}
	if err := w.head(rec); err != nil {
		return err
	}
	if w.owed = rec.DataLen; w.owed > 0 {
		if err := w.data(data, rec.DataLen); err != nil {
			return err
		}
	}
	switch rec.Type {
	case record.TypeEnd, record.TypeAbort:
		w.ended = true
		return w.buf.Flush()
	case record.TypeHeader:
		return w.buf.Flush()
	}
	return nil
}

func (w *Writer) head(rec *Record) error {
	h := header{typ: rec.Type, flags: rec.Flags, metaLen: uint32(min(len(rec.Meta), MaxMetaBytes+1)), dataLen: uint64(rec.DataLen)}
	if err := h.check(); err != nil {
		return fmt.Errorf("%v record: %w", rec.Type, err)
	}
	var b [headerBytes]byte
	if _, err := w.buf.Write(h.append(b[:0], rec.Meta)); err != nil {
		return err
	}
	if _, err := w.buf.Write(rec.Meta); err != nil {
		return err
	}
	w.total.add(rec)
	return nil
}

// data moves n bytes from src, which may be a Reader's current record, a file
// or any reader.
func (w *Writer) data(src io.Reader, n int64) error {
	if src == nil {
		return fmt.Errorf("a record promises %d bytes of data and has none", n)
	}
	in, _ := src.(*os.File)
	rd, fromReader := src.(*dataReader)
	if fromReader {
		in = rd.r.file
		if rd.r.left < n {
			return fmt.Errorf("a record promises %d bytes of data, %d are left", n, rd.r.left)
		}
	}
	moved := int64(0)
	if in != nil && w.file != nil && n >= spliceMinBytes {
		if err := w.buf.Flush(); err != nil {
			return err
		}
		var err error
		moved, err = spliceAll(w.file, in, n)
		w.owed -= moved
		if fromReader {
			rd.r.advance(moved)
		}
		if fromReader && err == io.ErrUnexpectedEOF {
			rd.r.err = rd.r.At(ErrTruncated)
			return rd.r.err
		}
		if err != nil {
			return err
		}
	}
	copied, err := w.copy(src, w.owed)
	w.owed -= copied
	if err == io.EOF {
		err = fmt.Errorf("a record promises %d bytes of data, its source ended after %d: %w", n, moved+copied, io.ErrUnexpectedEOF)
	}
	return err
}

// copy moves n bytes through memory, large amounts past the small buffer.
func (w *Writer) copy(src io.Reader, n int64) (int64, error) {
	if n < spliceMinBytes {
		return io.CopyN(w.buf, src, n)
	}
	if err := w.buf.Flush(); err != nil {
		return 0, err
	}
	if rf, ok := w.dst.(io.ReaderFrom); ok && w.file == nil {
		return copied(rf.ReadFrom(io.LimitReader(src, n)))(n)
	}
	if w.chunk == nil {
		w.chunk = make([]byte, copyBytes)
	}
	// The wrappers keep io.CopyBuffer to our buffer.
	return copied(io.CopyBuffer(struct{ io.Writer }{w.dst}, struct{ io.Reader }{io.LimitReader(src, n)}, w.chunk))(n)
}

// copied turns a copy that ended early into io.EOF, as io.CopyN does.
func copied(n int64, err error) func(want int64) (int64, error) {
	return func(want int64) (int64, error) {
		if err == nil && n < want {
			return n, io.EOF
		}
		return n, err
	}
}

// Add writes a record of a type in the table, without data.
func (w *Writer) Add(t record.Type, meta any) error {
	rec, err := New(t, meta)
	if err != nil {
		return err
	}
	return w.Write(rec, nil)
}

// End writes the END record: the stream is whole. The totals are filled in.
func (w *Writer) End(end record.End) error { return w.Add(record.TypeEnd, &end) }

// Abort ends a stream that failed with the first cause, so that the filters
// behind need not guess one: the one that cause carries from an earlier filter,
// or cause itself under the name tool. It can only be tried: when the output is
// gone, nothing happens. A record whose data broke off is first filled with zeros,
// so that the ABORT record can be found behind it; a large one, which none of
// ours is, is left broken off.
func (w *Writer) Abort(tool string, cause error) {
	if w.ended || w.owed > maxPadBytes {
		return
	}
	w.err = nil
	if _, err := io.CopyN(w.buf, zeros{}, w.owed); err != nil {
		return
	}
	w.owed = 0
	abort := record.Abort{Tool: tool, Reason: cause.Error()}
	if first := (*AbortError)(nil); errors.As(cause, &first) {
		abort = first.Abort
	}
	abort.Reason = abort.Reason[:min(len(abort.Reason), maxReasonBytes)]
	_ = w.Add(record.TypeAbort, &abort)
}

// maxPadBytes bounds what Abort fills up, and maxReasonBytes what it says.
const (
	maxPadBytes    = DataChunkBytes
	maxReasonBytes = 4096
)

// zeros is an endless source of zero bytes.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Flush writes out what is buffered.
func (w *Writer) Flush() error {
	if w.err == nil {
		w.err = w.buf.Flush()
	}
	return w.err
}

package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"ckpt/stream/record"
)

// Reader reads a stream and checks its framing: checksums, lengths, order of
// the parts, END's totals. It reads ahead no more than the header that follows a
// description, so the underlying file stands exactly where the Reader says when the
// current record has data, or is a bulk record or the last. Errors stick.
type Reader struct {
	src     io.Reader
	file    *os.File
	err     error
	total   totals
	offset  int64       // of the next byte of src
	index   int64       // of the current record
	start   int64       // where the current record began
	typ     record.Type // of the current record
	left    int64       // data of the current record not yet consumed
	bulk    bool
	ended   bool
	data    dataReader
	version Version
	head    [headerBytes]byte
	ahead   int // how much of head was read with the record before
}

// NewReader returns a Reader from r. When r is an *os.File, a Writer can take
// data from it by splice(2).
func NewReader(r io.Reader) *Reader {
	f, _ := r.(*os.File)
	rd := &Reader{src: r, file: f}
	rd.data.r = rd
	return rd
}

// NewReaderAfter returns a Reader of a stream of which somebody has read the beginning
// from f: it reads that again from head, to its end, and what follows from f.
func NewReaderAfter(head io.Reader, f *os.File) *Reader {
	r := NewReader(f)
	r.src = io.MultiReader(head, f)
	return r
}

// Next returns the next record, END included; after END it returns io.EOF,
// and at an ABORT record an *AbortError. Data of the current record that was
// not read is passed over. Whatever is wrong with a record is a *RecordError;
// what is wrong before the first one, with the preamble, may not be.
func (r *Reader) Next() (*Record, error) {
	if r.err != nil {
		return nil, r.err
	}
	rec, err := r.next()
	if err != nil {
		r.err = err
		return nil, err
	}
	return rec, nil
}

// Records are all records from the next on, HEADER and END included, for a range
// loop. END comes when nothing was found behind it, and ends them. So does an
// error, and the end of ctx, whose cause is the error then.
func (r *Reader) Records(ctx context.Context) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for {
			rec, err := r.Next()
			if err == nil && rec.Type == record.TypeEnd {
				err = r.last()
			}
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				rec = nil
			}
			if err == io.EOF || !yield(rec, err) || err != nil || rec.Type == record.TypeEnd {
				return
			}
		}
	}
}

// last makes sure that nothing follows END, which stays the current record.
func (r *Reader) last() error {
	index, start, typ := r.index, r.start, r.typ
	if _, err := r.Next(); err != io.EOF {
		return err
	}
	r.index, r.start, r.typ = index, start, typ
	return nil
}

func (r *Reader) next() (*Record, error) {
	if r.left > 0 {
		if _, err := io.Copy(io.Discard, r.Data()); err != nil {
			return nil, err
		}
	}
	if r.offset == 0 {
		if err := r.preamble(); err != nil {
			return nil, err
		}
	}
	r.index, r.start, r.typ = r.total.Records, r.offset, 0
	if r.ended {
		return nil, r.tail()
	}
	n := r.ahead
	r.ahead, r.offset = 0, r.offset+int64(n)
	if err := r.fill(r.head[n:]); err != nil {
		return nil, r.At(err)
	}
	h := parseHeader(r.head[:])
	if err := h.check(); err != nil {
		return nil, r.At(err)
	}
	meta, next, err := r.meta(&h)
	if err != nil {
		return nil, r.At(err)
	}
	if checksum(r.head[:headerBytes-4], meta) != h.crc {
		return nil, r.At(fmt.Errorf("%w: the record's checksum does not match", ErrCorrupt))
	}
	r.typ, r.ahead = h.typ, copy(r.head[:], next)
	if !isMap(meta) {
		return nil, r.At(errNoMap)
	}
	rec := &Record{Type: h.typ, Flags: h.flags, Meta: meta, DataLen: int64(h.dataLen)}
	return rec, r.admit(rec)
}

// admit checks a whole record against the stream's order and totals.
func (r *Reader) admit(rec *Record) error {
	switch {
	case rec.Type == record.TypeAbort: // also before HEADER: it failed before it began
		var a AbortError
		if err := rec.Decode(&a.Abort); err != nil {
			return r.At(err)
		}
		return &a
	case (r.total.Records == 0) != (rec.Type == record.TypeHeader):
		return r.At(fmt.Errorf("%w: HEADER must be the first record and only that", ErrCorrupt))
	case rec.Type == record.TypeEnd:
		var end record.End
		if err := rec.Decode(&end); err != nil {
			return r.At(err)
		}
		if rec.DataLen != 0 {
			return r.At(fmt.Errorf("%w: END has data", ErrCorrupt))
		}
		if err := r.total.check(end.Totals); err != nil {
			return r.At(err)
		}
		r.ended = true
		return nil
	case r.bulk && rec.Flags&record.Bulk == 0:
		return r.At(fmt.Errorf("%w: a description after the first bulk record", ErrCorrupt))
	}
	r.bulk = rec.Flags&record.Bulk != 0
	r.total.add(rec)
	r.left = rec.DataLen
	return nil
}

func (r *Reader) preamble() error {
	var b [preambleBytes]byte
	n, err := io.ReadFull(r.src, b[:])
	r.offset += int64(n)
	switch {
	case err == io.EOF:
		return &RecordError{Err: fmt.Errorf("%w: the input is empty", ErrTruncated)}
	case err == io.ErrUnexpectedEOF && string(b[:min(n, len(magic))]) != magic[:min(n, len(magic))]:
		return ErrForeign
	case err == io.ErrUnexpectedEOF:
		return &RecordError{Err: ErrTruncated}
	case err != nil:
		return fmt.Errorf("reading the stream: %w", err)
	}
	r.version, err = parsePreamble(b[:])
	return err
}

// tailWait is how long the end of the input is waited for after END.
const tailWait = 200 * time.Millisecond

// tail makes sure that nothing follows END. The stream is whole by then, and who
// is before us may have left his end to somebody, such as sudo(8), who waits for
// him: silence will do.
func (r *Reader) tail() error {
	if f := r.File(); f != nil && !arrives(f, tailWait) {
		return io.EOF
	}
	var b [1]byte
	switch _, err := io.ReadFull(r.src, b[:]); err {
	case io.EOF:
		return io.EOF
	case nil:
		return r.At(ErrTrailing)
	default:
		return r.At(err)
	}
}

// meta reads a record's meta and, behind a description, which others must follow, as much
// of the next header as is there already: there may be thousands, each a system call less.
func (r *Reader) meta(h *header) (meta, next []byte, err error) {
	n := int(h.metaLen)
	b := make([]byte, n, n+headerBytes)
	if h.dataLen == 0 && h.flags&record.Bulk == 0 && h.typ != record.TypeEnd && h.typ != record.TypeAbort {
		b = b[:n+headerBytes]
	}
	got, err := io.ReadAtLeast(r.src, b, n)
	r.offset += int64(min(got, n))
	return b[:n:n], b[n:max(got, n)], cutShort(err)
}

func (r *Reader) fill(b []byte) error {
	n, err := io.ReadFull(r.src, b)
	r.offset += int64(n)
	return cutShort(err)
}

// cutShort says of the end of the input that it comes too early.
func cutShort(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrTruncated
	}
	return err
}

// At says that err, which is none that says so itself, is of the current record.
func (r *Reader) At(err error) error {
	var re *RecordError
	var abort *AbortError
	if err == nil || errors.As(err, &re) || errors.As(err, &abort) {
		return err
	}
	return &RecordError{Index: r.index, Type: r.typ, Offset: r.start, Err: err}
}

// Version returns the version the stream is of, once a record was read.
func (r *Reader) Version() Version { return r.version }

// Totals returns what was read so far.
func (r *Reader) Totals() record.Totals { return r.total.Totals }

// Offset returns where in the stream the current record begins, in bytes.
func (r *Reader) Offset() int64 { return r.start }

// Left returns how many bytes of the current record's data are unread.
func (r *Reader) Left() int64 { return r.left }

// Data returns a reader over the current record's data, valid until Next.
// Handing it to Writer.Write moves the data without looking at it.
func (r *Reader) Data() io.Reader { return &r.data }

// File returns the file the stream is read from, or nil. Its position is that
// of the current record's next data byte. Whoever reads from it directly must
// say so with Skip.
func (r *Reader) File() *os.File { return r.file }

// Skip tells the Reader that n bytes of the current record's data were taken
// from File by other means.
func (r *Reader) Skip(n int64) error {
	if n < 0 || n > r.left {
		return fmt.Errorf("%d bytes taken from a record that has %d left", n, r.left)
	}
	r.advance(n)
	return nil
}

func (r *Reader) advance(n int64) { r.left -= n; r.offset += n }

type dataReader struct{ r *Reader }

func (d *dataReader) Read(p []byte) (int, error) {
	r := d.r
	if r.err != nil {
		return 0, r.err
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.src.Read(p[:min(int64(len(p)), r.left)])
	r.advance(int64(n))
	if err == io.EOF && r.left > 0 {
		r.err = r.At(ErrTruncated)
		return n, r.err
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

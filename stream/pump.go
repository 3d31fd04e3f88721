package stream

import (
	"context"
	"errors"
	"io"

	"ckpt/stream/record"
)

// Filter reads a stream from in and writes one to out, calling edit for every
// record but HEADER, END and ABORT. edit passes a record on with
// w.Write(rec, data), changed or not, writes others, or writes nothing to drop
// it. When edit or the input fails, an ABORT record with the cause goes out
// under the name tool, and no END.
//
// HEADER and END are passed on (END with new totals). To see them too, use a
// Pump.
func Filter(tool string, in io.Reader, out io.Writer, edit func(w *Writer, rec *Record, data io.Reader) error) error {
	p := Pump{Reader: NewReader(in), Writer: NewWriter(out), Edit: edit}
	err := p.Run(context.Background())
	if err != nil {
		p.Writer.Abort(tool, err)
	}
	return err
}

// Pump carries a stream from a Reader to a Writer, record by record. What goes
// through unchanged is moved without a look at it, and the version of the stream
// stays what it was.
type Pump struct {
	Reader *Reader
	Writer *Writer
	// Header, if not nil, gets HEADER and may change it, and may set Writer, for
	// nothing is written before.
	Header func(rec *Record) error
	// Edit gets every record but HEADER, END and ABORT, as in Filter; if nil,
	// they are passed on.
	Edit func(w *Writer, rec *Record, data io.Reader) error
	// End, if not nil, is called when the whole input was read and found good.
	// Then END is written.
	End func() error
}

// Run carries a whole stream. An error of Edit is returned as a *RecordError,
// any other as it is. The stream that was begun is left without an end then; see
// Writer.Abort.
func (p *Pump) Run(ctx context.Context) error {
	for rec, err := range p.Reader.Records(ctx) {
		if err != nil {
			return err
		}
		switch {
		case rec.Type == record.TypeHeader:
			err = p.header(rec)
		case rec.Type == record.TypeEnd:
			err = p.end(rec)
		case p.Edit == nil:
			err = p.Writer.Write(rec, p.Reader.Data())
		default:
			err = p.edit(rec)
		}
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Pump) header(rec *Record) error {
	if p.Header != nil {
		if err := p.Header(rec); err != nil {
			return err
		}
	}
	if err := p.Writer.SetVersion(p.Reader.Version()); err != nil {
		return err
	}
	return p.Writer.Write(rec, p.Reader.Data())
}

func (p *Pump) edit(rec *Record) error {
	err := p.Edit(p.Writer, rec, p.Reader.Data())
	if err != nil && p.Writer.err != nil && errors.Is(err, p.Writer.err) {
		return err // it is about the output
	}
	return p.Reader.At(err)
}

func (p *Pump) end(rec *Record) error {
	if p.End != nil {
		if err := p.End(); err != nil {
			return err
		}
	}
	return p.Writer.Write(rec, nil)
}

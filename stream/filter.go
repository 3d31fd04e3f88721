package stream

import (
	"errors"
	"io"
)

// Filter reads a stream from in and writes one to out, calling edit for every
// record but HEADER, END and ABORT. edit passes a record on with
// w.Write(rec, data), changed or not, writes others, or writes nothing to drop
// it. When edit or the input fails, an ABORT record with the cause goes out
// under the name tool, and no END.
//
// HEADER and END are passed on (END with new totals); to see them too, use
// Reader and Writer directly.
func Filter(tool string, in io.Reader, out io.Writer, edit func(w *Writer, rec *Record, data io.Reader) error) error {
	r, w := NewReader(in), NewWriter(out)
	err := filter(r, w, edit)
	if err != nil {
		Fail(w, tool, err)
	}
	return err
}

// Fail ends w with an ABORT record: the one err carries from an earlier filter,
// or a new one under the name tool.
func Fail(w *Writer, tool string, err error) {
	var abort *AbortError
	if errors.As(err, &abort) {
		w.Abort(abort.Tool, errors.New(abort.Reason))
		return
	}
	w.Abort(tool, err)
}

func filter(r *Reader, w *Writer, edit func(*Writer, *Record, io.Reader) error) error {
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch rec.Type {
		case TypeHeader:
			err = w.Write(rec, r.Data())
		case TypeEnd:
			// Bytes after END make the input invalid, so look before the
			// output is declared whole.
			if _, err = r.Next(); err == io.EOF {
				return w.Write(rec, nil)
			}
		default:
			err = edit(w, rec, r.Data())
		}
		if err != nil {
			return err
		}
	}
}

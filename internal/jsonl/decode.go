package jsonl

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"ckpt/stream"
	"ckpt/stream/record"
)

// Decode writes a stream as JSON Lines, with the bulk data if withData.
func Decode(ctx context.Context, in io.Reader, out io.Writer, withData bool) error {
	w := bufio.NewWriterSize(out, 64<<10)
	err := decode(ctx, stream.NewReader(in), w, withData)
	if ferr := w.Flush(); !errors.Is(err, ferr) {
		err = errors.Join(err, ferr)
	}
	return err
}

func decode(ctx context.Context, r *stream.Reader, w *bufio.Writer, withData bool) error {
	for rec, err := range r.Records(ctx) {
		var abort *stream.AbortError
		switch {
		case errors.As(err, &abort):
			return errors.Join(abort, writeAbort(w, abort))
		case err != nil:
			return err
		}
		line, err := recordJSON(rec, r.Version())
		if err == nil && withData && rec.DataLen > maxDataBytes {
			err = fmt.Errorf("data of %d bytes makes a line longer than encode takes", rec.DataLen)
		}
		if err != nil {
			return r.At(err)
		}
		if err := writeLine(w, line, rec, r.Data(), withData); err != nil {
			return err
		}
		if rec.Type == record.TypeHeader { // at once, as stream.Writer does
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeAbort(w io.Writer, a *stream.AbortError) error {
	rec, err := stream.New(record.TypeAbort, &a.Abort)
	if err != nil {
		return err
	}
	line, err := recordJSON(rec, stream.Version{})
	if err == nil {
		_, err = w.Write(append(line, "}\n"...))
	}
	return err
}

// writeLine completes and writes what recordJSON began.
func writeLine(w *bufio.Writer, line []byte, rec *stream.Record, data io.Reader, withData bool) error {
	if rec.DataLen > 0 && !withData {
		line = fmt.Appendf(line, `,"data_len":%d`, rec.DataLen)
	}
	if rec.DataLen == 0 || !withData {
		_, err := w.Write(append(line, "}\n"...))
		return err
	}
	if _, err := w.Write(append(line, `,"data":"`...)); err != nil {
		return err
	}
	e := base64.NewEncoder(base64.StdEncoding, w)
	if _, err := io.Copy(e, data); err != nil {
		return err
	}
	if err := e.Close(); err != nil {
		return err
	}
	_, err := w.WriteString("\"}\n")
	return err
}

// recordJSON returns a record's line without its data and the closing brace.
// HEADER's has the version of the stream.
func recordJSON(rec *stream.Record, v stream.Version) ([]byte, error) {
	if err := checkMeta(rec.Meta); err != nil {
		return nil, err
	}
	line := []byte(`{"type":`)
	if info := record.Lookup(rec.Type); info != nil {
		line = appendQuoted(line, info.Name)
		if rec.Flags != info.Flags {
			line = appendFlags(line, rec.Flags)
		}
	} else {
		line = appendFlags(fmt.Append(line, uint16(rec.Type)), rec.Flags)
	}
	if rec.Type == record.TypeHeader {
		line = fmt.Appendf(line, `,"version":"%v"`, v)
	}
	line, _, err := toJSON(append(line, `,"meta":`...), rec.Meta)
	return line, err
}

func appendFlags(line []byte, f record.Flags) []byte {
	var names []string
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, `"`+name+`"`)
		}
	}
	return append(line, `,"flags":[`+strings.Join(names, ",")+`]`...)
}

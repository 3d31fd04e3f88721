// Package jsonl turns a stream into JSON Lines and back, for people and jq.
//
// Each record is one object: {"type":"PIPE","flags":[…],"meta":{…},"data":"…"}.
// flags stand there only when they differ from what the table gives the type;
// data is base64, or left out with its length as data_len.
//
// Strings in meta are byte strings, for paths are bytes. What JSON can't say
// plainly has a prefix: "base64:…" for bytes that are not UTF-8, "int:…" for
// integers beyond 2^53, "text:…" for CBOR's text strings.
package jsonl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"ckpt/stream"
)

// Tool is the name this filter signs its records with.
const Tool = "ckpt-json"

// maxLineBytes bounds a line of input: a record's meta and data, base64.
const maxLineBytes = 64 << 20

// flagNames in the order of their bits.
var flagNames = []string{"critical", "bulk", "shareable"}

// ErrDataLeftOut: a line says how much data its record had, not which.
var ErrDataLeftOut = errors.New("its data was left out when it was decoded")

// LineError says in which line of the input something is wrong.
type LineError struct {
	Line int
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// Decode writes a stream as JSON Lines, with the bulk data if withData.
func Decode(ctx context.Context, in io.Reader, out io.Writer, withData bool) error {
	r, w := stream.NewReader(in), bufio.NewWriterSize(out, 64<<10)
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return w.Flush()
		}
		if err == nil {
			err = decodeRecord(w, rec, r, withData)
		}
		var abort *stream.AbortError
		if errors.As(err, &abort) {
			line, merr := abortLine(abort)
			if merr == nil {
				_, merr = w.Write(line)
			}
			return errors.Join(err, merr, w.Flush())
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return errors.Join(err, w.Flush())
		}
	}
}

func abortLine(a *stream.AbortError) ([]byte, error) {
	rec, err := stream.New(stream.TypeAbort, &a.Abort)
	if err != nil {
		return nil, err
	}
	line, err := recordJSON(rec)
	return append(line, "}\n"...), err
}

// recordJSON returns a record's line without its data and the closing brace.
func recordJSON(rec *stream.Record) ([]byte, error) {
	line := []byte(`{"type":`)
	if info := stream.Lookup(rec.Type); info != nil {
		line = appendQuoted(line, info.Name)
		if rec.Flags != info.Flags {
			line = appendFlags(line, rec.Flags)
		}
	} else {
		line = appendFlags(fmt.Append(line, uint16(rec.Type)), rec.Flags)
	}
	line = append(line, `,"meta":`...)
	line, rest, err := toJSON(line, rec.Meta, 1)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: %d bytes follow its meta", stream.ErrCorrupt, len(rest))
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: its meta breaks off", stream.ErrCorrupt)
	}
	return line, err
}

func appendFlags(line []byte, f stream.Flags) []byte {
	var names []string
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, `"`+name+`"`)
		}
	}
	return append(line, `,"flags":[`+strings.Join(names, ",")+`]`...)
}

func decodeRecord(w *bufio.Writer, rec *stream.Record, r *stream.Reader, withData bool) error {
	line, err := recordJSON(rec)
	if err != nil {
		return &stream.RecordError{Index: r.Totals().Records - 1, Type: rec.Type, Offset: r.Offset(), Err: err}
	}
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
	if _, err := io.Copy(e, r.Data()); err != nil {
		return err
	}
	if err := e.Close(); err != nil {
		return err
	}
	_, err = w.WriteString("\"}\n")
	return err
}

// jsonRecord is a line of input.
type jsonRecord struct {
	Type    json.RawMessage `json:"type"`
	Flags   *[]string       `json:"flags"`
	Meta    map[string]any  `json:"meta"`
	Data    *string         `json:"data"`
	DataLen json.Number     `json:"data_len"`
}

// Encode writes a stream of JSON Lines. END gets the totals of what is written.
func Encode(ctx context.Context, in io.Reader, out io.Writer) error {
	w := stream.NewWriter(out)
	err := encode(ctx, in, w)
	if err != nil {
		stream.Fail(w, Tool, err)
	}
	return err
}

func encode(ctx context.Context, in io.Reader, w *stream.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxLineBytes)
	last := stream.Type(0)
	n := 0
	for n = 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if last == stream.TypeEnd {
			return &LineError{n, errors.New("a record behind END")}
		}
		rec, data, err := parseLine(lines.Bytes())
		if err != nil {
			return &LineError{n, err}
		}
		if rec.Type == stream.TypeAbort {
			var a stream.AbortError
			if err := rec.Decode(&a.Abort); err != nil {
				return &LineError{n, err}
			}
			return &a
		}
		if err := w.Write(rec, bytes.NewReader(data)); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		last = rec.Type
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return &LineError{n, fmt.Errorf("longer than %d bytes", maxLineBytes)}
	}
	if lines.Err() != nil {
		return lines.Err()
	}
	if last != stream.TypeEnd {
		return fmt.Errorf("the input ends in line %d: %w", n, stream.ErrTruncated)
	}
	return nil
}

// parseLine is the inverse of decodeRecord.
func parseLine(line []byte) (*stream.Record, []byte, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	d.DisallowUnknownFields()
	var j jsonRecord
	if err := d.Decode(&j); err != nil {
		return nil, nil, err
	}
	if d.More() {
		return nil, nil, errors.New("more than one object")
	}
	rec := new(stream.Record)
	var err error
	if rec.Type, rec.Flags, err = typeAndFlags(&j); err != nil {
		return nil, nil, err
	}
	if j.Meta == nil {
		return nil, nil, errors.New("it has no meta")
	}
	if rec.Meta, err = toCBOR(nil, j.Meta, 1); err != nil {
		return nil, nil, err
	}
	if j.Data == nil {
		if j.DataLen != "" && j.DataLen != "0" {
			return nil, nil, ErrDataLeftOut
		}
		return rec, nil, nil
	}
	data, err := base64.StdEncoding.DecodeString(*j.Data)
	if err != nil {
		return nil, nil, fmt.Errorf("data: %w", err)
	}
	rec.DataLen = int64(len(data))
	return rec, data, nil
}

func typeAndFlags(j *jsonRecord) (stream.Type, stream.Flags, error) {
	var name string
	var t stream.Type
	if json.Unmarshal(j.Type, &name) == nil && name != "" {
		var ok bool
		if t, ok = stream.TypeByName(name); !ok {
			return 0, 0, fmt.Errorf("there is no record type %q; one that is not in the table stands by its number", name)
		}
	} else if err := json.Unmarshal(j.Type, &t); err != nil || t == 0 {
		return 0, 0, fmt.Errorf("type %s is neither a name nor a number", j.Type)
	}
	if j.Flags == nil {
		info := stream.Lookup(t)
		if info == nil {
			return 0, 0, fmt.Errorf("record type %d is not in the table, so it needs its flags", t)
		}
		return t, info.Flags, nil
	}
	var f stream.Flags
next:
	for _, name := range *j.Flags {
		for i, known := range flagNames {
			if name == known {
				f |= 1 << i
				continue next
			}
		}
		return 0, 0, fmt.Errorf("there is no flag %q", name)
	}
	return t, f, nil
}

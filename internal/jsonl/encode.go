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
	"slices"
	"strconv"

	"ckpt/stream"
)

// Encode writes a stream of JSON Lines. END gets the totals of what is written.
// A failure goes out as an ABORT record, too.
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
	e := encoder{w: w}
	n := 0
	for lines.Scan() {
		n++
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		rec, data, err := parseLine(lines.Bytes())
		if err == nil {
			err = e.check(rec)
		}
		if err != nil {
			return lineError(n, err)
		}
		if err := e.write(rec, data); err != nil {
			return err
		}
	}
	switch {
	case errors.Is(lines.Err(), bufio.ErrTooLong):
		return &LineError{n + 1, fmt.Errorf("longer than %d bytes", maxLineBytes)}
	case lines.Err() != nil:
		return lines.Err()
	case e.end == nil:
		return fmt.Errorf("the input ends after line %d: %w", n, stream.ErrTruncated)
	}
	return w.Write(e.end, nil)
}

func lineError(n int, err error) error {
	var abort *stream.AbortError
	if errors.As(err, &abort) {
		return err
	}
	return &LineError{n, err}
}

// encoder keeps the records in the order a stream has.
type encoder struct {
	w           *stream.Writer
	begun, bulk bool
	end         *stream.Record // held until nothing follows it
}

// check is an error for a record that can't stand where it does, and at ABORT,
// as stream.Reader's Next.
func (e *encoder) check(rec *stream.Record) error {
	switch {
	case rec.Type == stream.TypeAbort:
		var a stream.AbortError
		if err := rec.Decode(&a.Abort); err != nil {
			return err
		}
		return &a
	case e.end != nil:
		return errors.New("a record behind END")
	case e.begun != (rec.Type != stream.TypeHeader):
		return errors.New("HEADER must be the first record and only that")
	case rec.Type == stream.TypeEnd:
		if rec.DataLen != 0 {
			return errors.New("END has data")
		}
	case e.bulk && rec.Flags&stream.Bulk == 0:
		return errors.New("a description after the first bulk record")
	}
	return nil
}

func (e *encoder) write(rec *stream.Record, data []byte) error {
	if rec.Type == stream.TypeEnd {
		e.end = rec
		return nil
	}
	e.begun, e.bulk = true, rec.Flags&stream.Bulk != 0
	return e.w.Write(rec, bytes.NewReader(data))
}

// parseLine is the inverse of recordJSON and writeLine.
func parseLine(line []byte) (*stream.Record, []byte, error) {
	obj, err := readObject(line)
	if err != nil {
		return nil, nil, err
	}
	for name := range obj {
		if !slices.Contains([]string{"type", "flags", "meta", "data", "data_len"}, name) {
			return nil, nil, fmt.Errorf("there is no use for %q", name)
		}
	}
	rec := new(stream.Record)
	if rec.Type, rec.Flags, err = typeAndFlags(obj["type"], obj["flags"]); err != nil {
		return nil, nil, err
	}
	meta, ok := obj["meta"].(map[string]any)
	if !ok {
		return nil, nil, errors.New("it has no meta, an object")
	}
	if rec.Meta, err = toCBOR(nil, meta); err != nil {
		return nil, nil, fmt.Errorf("meta: %w", err)
	}
	if err := checkMeta(rec.Meta); err != nil {
		return nil, nil, err
	}
	data, err := dataOf(obj)
	rec.DataLen = int64(len(data))
	return rec, data, err
}

func dataOf(obj map[string]any) ([]byte, error) {
	coded, ok := obj["data"].(string)
	if !ok && obj["data"] != nil {
		return nil, errors.New("data is not a string")
	}
	data, err := base64.StdEncoding.Strict().DecodeString(coded)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	switch n := obj["data_len"]; {
	case n == nil || n == json.Number(strconv.Itoa(len(data))):
		return data, nil
	case obj["data"] == nil:
		return nil, ErrDataLeftOut
	}
	return nil, fmt.Errorf("data_len is %v, and data has %d bytes", obj["data_len"], len(data))
}

func typeAndFlags(typ, flags any) (stream.Type, stream.Flags, error) {
	t, err := typeOf(typ)
	if err != nil || flags != nil {
		f, ferr := flagsOf(flags)
		return t, f, errors.Join(err, ferr)
	}
	info := stream.Lookup(t)
	if info == nil {
		return 0, 0, fmt.Errorf("record type %d is not in the table, so it needs its flags", t)
	}
	return t, info.Flags, nil
}

func typeOf(v any) (stream.Type, error) {
	switch v := v.(type) {
	case string:
		if t, ok := stream.TypeByName(v); ok {
			return t, nil
		}
		return 0, fmt.Errorf("there is no record type %q; one that is not in the table stands by its number", v)
	case json.Number:
		if n, err := strconv.ParseUint(v.String(), 10, 16); err == nil {
			return stream.Type(n), nil
		}
		return 0, fmt.Errorf("there is no record type %v", v)
	}
	return 0, errors.New("it has no type, a name or a number")
}

func flagsOf(v any) (f stream.Flags, err error) {
	names, ok := v.([]any)
	if !ok && v != nil {
		return 0, errors.New("flags is not an array")
	}
	for _, name := range names {
		text, _ := name.(string)
		i := slices.Index(flagNames, text)
		if i < 0 {
			return 0, fmt.Errorf("there is no flag %q", fmt.Sprint(name))
		}
		f |= 1 << i
	}
	return f, nil
}

package jsonl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"ckpt/stream"
	"ckpt/stream/record"
)

// Encode writes a stream of JSON Lines. END gets the totals of what is written.
// A failure goes out as an ABORT record, too.
func Encode(ctx context.Context, in io.Reader, out io.Writer) error {
	w := stream.NewWriter(out)
	err := encode(ctx, in, w)
	if err != nil {
		w.Abort(Tool, err)
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
		rec, data, version, err := parseLine(lines.Bytes())
		if err == nil {
			err = e.check(rec)
		}
		if err == nil {
			err = e.version(rec, version)
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
	case rec.Type == record.TypeAbort:
		var a stream.AbortError
		if err := rec.Decode(&a.Abort); err != nil {
			return err
		}
		return &a
	case e.end != nil:
		return errors.New("a record behind END")
	case e.begun != (rec.Type != record.TypeHeader):
		return errors.New("HEADER must be the first record and only that")
	case rec.Type == record.TypeEnd:
		if rec.DataLen != 0 {
			return errors.New("END has data")
		}
	case e.bulk && rec.Flags&record.Bulk == 0:
		return errors.New("a description after the first bulk record")
	}
	return nil
}

// version takes over the version of the stream that the lines were made of. Lines
// that somebody wrote may have none.
func (e *encoder) version(rec *stream.Record, text []byte) error {
	switch {
	case text == nil:
		return nil
	case rec.Type != record.TypeHeader:
		return errors.New(`only HEADER has a "version"`)
	}
	v, err := parseVersion(text)
	if err != nil {
		return err
	}
	return e.w.SetVersion(v)
}

// parseVersion takes what Decode wrote, and nothing that looks different.
func parseVersion(text []byte) (v stream.Version, err error) {
	_, err = fmt.Sscanf(string(text), `"%d.%d"`, &v.Major, &v.Minor)
	if err != nil || strconv.Quote(v.String()) != string(text) {
		return v, fmt.Errorf("%.100s is not the version of a stream", text)
	}
	return v, nil
}

func (e *encoder) write(rec *stream.Record, data []byte) error {
	if rec.Type == record.TypeEnd {
		e.end = rec
		return nil
	}
	e.begun, e.bulk = true, rec.Flags&record.Bulk != 0
	return e.w.Write(rec, bytes.NewReader(data))
}

// fields are the values of a line's object, by name; null is as good as none.
type fields map[string][]byte

func readFields(line []byte) (fields, error) {
	if err := checkJSON(line); err != nil {
		return nil, err
	}
	if s := (scanner{line}); s.peek() != '{' {
		return nil, errors.New("it is not an object")
	}
	f := fields{}
	err := each(line, func(name string, value []byte) error {
		if !slices.Contains([]string{"type", "flags", "meta", "version", "data", "data_len"}, name) {
			return fmt.Errorf("there is no use for %.100q", name)
		}
		if _, twice := f[name]; twice {
			return errTwice(name)
		}
		if f[name] = value; string(value) == "null" {
			f[name] = nil
		}
		return nil
	})
	return f, err
}

func errTwice(name string) error { return fmt.Errorf("%.100q stands there twice", name) }

// parseLine is the inverse of recordJSON and writeLine.
func parseLine(line []byte) (rec *stream.Record, data, version []byte, err error) {
	f, err := readFields(line)
	if err != nil {
		return nil, nil, nil, err
	}
	rec = new(stream.Record)
	if rec.Type, rec.Flags, err = typeAndFlags(f["type"], f["flags"]); err != nil {
		return nil, nil, nil, err
	}
	if !bytes.HasPrefix(f["meta"], []byte("{")) {
		return nil, nil, nil, errors.New("it has no meta, an object")
	}
	rec.Meta, err = toCBOR(nil, f["meta"])
	switch {
	case errors.Is(err, errLong):
		return nil, nil, nil, err
	case err != nil:
		return nil, nil, nil, fmt.Errorf("meta: %w", err)
	}
	if err := checkMeta(rec.Meta); err != nil {
		return nil, nil, nil, err
	}
	data, err = dataOf(f["data"], f["data_len"])
	rec.DataLen = int64(len(data))
	return rec, data, f["version"], err
}

func dataOf(coded, size []byte) ([]byte, error) {
	var data []byte
	if coded != nil {
		if coded[0] != '"' {
			return nil, errors.New("data is not a string")
		}
		in := coded[1 : len(coded)-1]
		if bytes.IndexByte(in, '\\') >= 0 {
			s, err := unquote(coded)
			if err != nil {
				return nil, err
			}
			in = []byte(s)
		}
		data = make([]byte, base64.StdEncoding.DecodedLen(len(in)))
		n, err := base64.StdEncoding.Strict().Decode(data, in)
		if err != nil {
			return nil, fmt.Errorf("data: %w", err)
		}
		data = data[:n]
	}
	switch {
	case size == nil || string(size) == strconv.Itoa(len(data)):
		return data, nil
	case coded == nil:
		return nil, ErrDataLeftOut
	}
	return nil, fmt.Errorf("data_len is %.100s, and data has %d bytes", size, len(data))
}

func typeAndFlags(typ, flags []byte) (record.Type, record.Flags, error) {
	t, err := typeOf(typ)
	if err != nil || flags != nil {
		f, ferr := flagsOf(flags)
		return t, f, errors.Join(err, ferr)
	}
	info := record.Lookup(t)
	if info == nil {
		return 0, 0, fmt.Errorf("record type %d is not in the table, so it needs its flags", t)
	}
	return t, info.Flags, nil
}

func typeOf(v []byte) (record.Type, error) {
	switch {
	case len(v) > 0 && v[0] == '"':
		name, err := unquote(v)
		if err != nil {
			return 0, err
		}
		if t, ok := record.TypeByName(name); ok {
			return t, nil
		}
		return 0, fmt.Errorf("there is no record type %.100q; one that is not in the table stands by its number", name)
	case len(v) > 0 && (v[0] == '-' || v[0] >= '0' && v[0] <= '9'):
		if n, err := strconv.ParseUint(string(v), 10, 16); err == nil {
			return record.Type(n), nil
		}
		return 0, fmt.Errorf("there is no record type %.100s", v)
	}
	return 0, errors.New("it has no type, a name or a number")
}

func flagsOf(v []byte) (f record.Flags, err error) {
	if v == nil {
		return 0, nil
	}
	if v[0] != '[' {
		return 0, errors.New("flags is not an array")
	}
	return f, each(v, func(_ string, value []byte) error {
		name := string(value)
		if value[0] == '"' {
			if name, err = unquote(value); err != nil {
				return err
			}
		}
		i := slices.Index(flagNames, name)
		if i < 0 || value[0] != '"' {
			return fmt.Errorf("there is no flag %.100q", name)
		}
		f |= 1 << i
		return nil
	})
}

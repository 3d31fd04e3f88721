package jsonl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// maxDepth is how deep meta's maps and arrays may nest, see package stream.
const maxDepth = 8

// readObject parses one line. encoding/json alone would pass over a key that
// comes twice and replace what is not Unicode, and the stream would be another.
func readObject(line []byte) (map[string]any, error) {
	if !utf8.Valid(line) {
		return nil, errors.New("it is not UTF-8")
	}
	if loneSurrogate(line) {
		return nil, errors.New(`an escape \u is half of a pair`)
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	v, err := readValue(d, 0)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, errors.New("it breaks off")
	}
	if err != nil {
		return nil, err
	}
	obj, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("it is not an object")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the object")
	}
	return obj, nil
}

// readValue reads one value that stands within depth others.
func readValue(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := t.(json.Delim)
	switch {
	case !ok:
		return t, nil
	case depth > maxDepth: // the line's object is no part of meta
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	case delim == '{':
		return readMap(d, depth+1)
	}
	list := []any{}
	for d.More() {
		v, err := readValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err = d.Token()
	return list, err
}

func readMap(d *json.Decoder, depth int) (any, error) {
	m := map[string]any{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, _ := t.(string) // Token sees to that
		if _, twice := m[key]; twice {
			return nil, fmt.Errorf("%.100q stands there twice", key)
		}
		if m[key], err = readValue(d, depth); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return m, err
}

// loneSurrogate reports whether an escape in line stands for no character.
func loneSurrogate(line []byte) bool {
	for {
		i := bytes.IndexByte(line, '\\')
		if i < 0 {
			return false
		}
		line = line[i:]
		switch unit := escaped(line); {
		case unit < 0xd800 || unit > 0xdfff:
			line = line[min(2, len(line)):]
		case unit > 0xdbff:
			return true
		default:
			line = line[6:]
			if low := escaped(line); low < 0xdc00 || low > 0xdfff {
				return true
			}
			line = line[6:]
		}
	}
}

// escaped returns the UTF-16 unit of the escape \uXXXX that b begins with, or -1.
func escaped(b []byte) int64 {
	if len(b) < 6 || string(b[:2]) != `\u` {
		return -1
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return int64(n)
}

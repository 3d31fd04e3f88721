package jsonl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep meta's maps and arrays may nest, see package stream.
const maxDepth = 8

// checkJSON is an error for a line that is not JSON through and through.
// encoding/json alone would replace what is not Unicode.
func checkJSON(line []byte) error {
	switch {
	case !utf8.Valid(line):
		return errors.New("it is not UTF-8")
	case loneSurrogate(line):
		return errors.New(`an escape \u is half of a pair`)
	case json.Valid(line):
		return nil
	}
	err := json.Unmarshal(line, new(nothing))
	switch text := err.Error(); {
	case strings.HasPrefix(text, "unexpected end"):
		return errors.New("it breaks off")
	case strings.HasSuffix(text, "after top-level value"):
		return errors.New("something follows the object")
	case strings.HasSuffix(text, "exceeded max depth"):
		return errDepth
	}
	return err
}

// nothing is a value that takes up no memory.
type nothing struct{}

func (*nothing) UnmarshalJSON([]byte) error { return nil }

var errDepth = fmt.Errorf("nested deeper than %d", maxDepth)

// scanner walks over JSON that checkJSON has seen, and makes no values of it: a
// line may have millions.
type scanner struct{ in []byte }

// peek returns the next byte that is not space.
func (s *scanner) peek() byte {
	s.in = bytes.TrimLeft(s.in, " \t\r\n")
	if len(s.in) == 0 {
		return 0
	}
	return s.in[0]
}

// value returns the next value as it stands there.
func (s *scanner) value() ([]byte, error) {
	s.peek()
	all, open := s.in, 0
	for {
		switch s.peek() {
		case '"':
			s.in = s.in[stringBytes(s.in):]
		case '{', '[':
			if open++; open > maxDepth {
				return nil, errDepth
			}
			s.in = s.in[1:]
		case '}', ']':
			open--
			s.in = s.in[1:]
		case ',', ':':
			s.in = s.in[1:]
		default:
			s.in = s.in[scalarBytes(s.in):]
		}
		if open == 0 {
			return all[:len(all)-len(s.in)], nil
		}
	}
}

// each calls do for every element of the array, or value of the object with its
// key, that in is.
func each(in []byte, do func(key string, value []byte) error) error {
	s := scanner{in}
	object := s.peek() == '{'
	s.in = s.in[1:]
	for c := s.peek(); c != '}' && c != ']'; c = s.peek() {
		if c == ',' {
			s.in = s.in[1:]
			continue
		}
		var key string
		if object {
			raw, err := s.value()
			if err != nil {
				return err
			}
			if key, err = unquote(raw); err != nil {
				return err
			}
			s.peek()
			s.in = s.in[1:] // the colon
		}
		v, err := s.value()
		if err != nil {
			return err
		}
		if err := do(key, v); err != nil {
			return err
		}
	}
	return nil
}

// count returns how many elements or values in has.
func count(in []byte) (n uint64, err error) {
	err = each(in, func(string, []byte) error { n++; return nil })
	return n, err
}

// stringBytes returns the length of the JSON string that b begins with.
func stringBytes(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// scalarBytes returns the length of the number or word that b begins with.
func scalarBytes(b []byte) int {
	if i := bytes.IndexAny(b, ",:]} \t\r\n"); i >= 0 {
		return i
	}
	return len(b)
}

// unquote returns what a JSON string says.
func unquote(raw []byte) (s string, err error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), nil
	}
	err = json.Unmarshal(raw, &s)
	return s, err
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

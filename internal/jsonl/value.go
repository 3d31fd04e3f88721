package jsonl

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"ckpt/stream"
)

// Prefixes of JSON strings that stand for something else than the byte string
// of their text.
const (
	prefixBase64 = "base64:" // a byte string that is not UTF-8, or begins with a prefix
	prefixText   = "text:"   // a text string
	prefixInt    = "int:"    // an integer JSON programs would round
)

// maxExact is the largest integer that every JSON program keeps exactly.
const maxExact = 1<<53 - 1

// Major types of CBOR, RFC 8949 §3.1, and its simple values.
const (
	majorUint = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap

	simpleFalse = 0xf4
	simpleTrue  = 0xf5
	simpleNull  = 0xf6
)

var errNotDeterministic = errors.New("its meta is not in CBOR's deterministic encoding, so that it could not be made again")

var errBreaksOff = fmt.Errorf("%w: its meta breaks off", stream.ErrCorrupt)

// toJSON appends the JSON of one CBOR item, which checkMeta has seen, to out
// and returns what follows it.
func toJSON(out, in []byte) (json, rest []byte, err error) {
	if len(in) == 0 {
		return nil, nil, errBreaksOff
	}
	switch in[0] {
	case simpleFalse:
		return append(out, "false"...), in[1:], nil
	case simpleTrue:
		return append(out, "true"...), in[1:], nil
	case simpleNull:
		return append(out, "null"...), in[1:], nil
	}
	major, n, rest, err := head(in)
	if err != nil {
		return nil, nil, err
	}
	switch major {
	case majorUint, majorNegative:
		return appendInt(out, n, major == majorNegative), rest, nil
	case majorBytes, majorText:
		if n > uint64(len(rest)) {
			return nil, nil, errBreaksOff
		}
		text := major == majorText
		if text && !utf8.Valid(rest[:n]) {
			return nil, nil, fmt.Errorf("%w: a text in its meta is not UTF-8", stream.ErrCorrupt)
		}
		return appendString(out, string(rest[:n]), text), rest[n:], nil
	case majorArray:
		return arrayToJSON(out, rest, n)
	case majorMap:
		return mapToJSON(out, rest, n)
	}
	return nil, nil, fmt.Errorf("%w: CBOR of a kind that streams don't have (%#x)", stream.ErrCorrupt, in[0])
}

// head reads an item's type and argument, which must be in the shortest form.
func head(in []byte) (major byte, n uint64, rest []byte, err error) {
	major, info, rest := in[0]>>5, in[0]&31, in[1:]
	if info < 24 {
		return major, uint64(info), rest, nil
	}
	size := 1 << (info - 24)
	if info > 27 || major > majorMap {
		return 0, 0, nil, fmt.Errorf("%w: CBOR of a kind that streams don't have (%#x)", stream.ErrCorrupt, in[0])
	}
	if len(rest) < size {
		return 0, 0, nil, errBreaksOff
	}
	var b [8]byte
	copy(b[8-size:], rest[:size])
	n = binary.BigEndian.Uint64(b[:])
	if least := []uint64{24, 1 << 8, 1 << 16, 1 << 32}[info-24]; n < least {
		return 0, 0, nil, errNotDeterministic
	}
	return major, n, rest[size:], nil
}

func appendInt(out []byte, n uint64, negative bool) []byte {
	digits := strconv.FormatUint(n, 10)
	if negative { // CBOR has -1-n
		digits = new(big.Int).Not(new(big.Int).SetUint64(n)).String()
	}
	if n > maxExact || negative && n == maxExact {
		return appendQuoted(out, prefixInt+digits)
	}
	return append(out, digits...)
}

func appendString(out []byte, s string, text bool) []byte {
	switch {
	case text:
		return appendQuoted(out, prefixText+s)
	case !utf8.ValidString(s) || hasPrefix(s):
		return appendQuoted(out, prefixBase64+base64.StdEncoding.EncodeToString([]byte(s)))
	}
	return appendQuoted(out, s)
}

func hasPrefix(s string) bool {
	return strings.HasPrefix(s, prefixBase64) || strings.HasPrefix(s, prefixText) || strings.HasPrefix(s, prefixInt)
}

// appendQuoted is json.Marshal of a string without its care for HTML, but with
// care for the terminal: what does not print is escaped.
func appendQuoted(out []byte, s string) []byte {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always can be
	for _, r := range strings.TrimSuffix(b.String(), "\n") {
		switch {
		case strconv.IsPrint(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

func arrayToJSON(out, in []byte, n uint64) ([]byte, []byte, error) {
	out = append(out, '[')
	for i := range n {
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		if out, in, err = toJSON(out, in); err != nil {
			return nil, nil, err
		}
	}
	return append(out, ']'), in, nil
}

func mapToJSON(out, in []byte, n uint64) ([]byte, []byte, error) {
	out = append(out, '{')
	var last []byte
	for i := range n {
		if i > 0 {
			out = append(out, ',')
		}
		if len(in) == 0 {
			return nil, nil, errBreaksOff
		}
		major, size, rest, err := head(in)
		if err != nil {
			return nil, nil, err
		}
		if major != majorText || size > uint64(len(rest)) || !utf8.Valid(rest[:size]) {
			return nil, nil, fmt.Errorf("%w: a map's key is not text", stream.ErrCorrupt)
		}
		key := in[:len(in)-len(rest)+int(size)]
		if i > 0 && slices.Compare(last, key) >= 0 {
			return nil, nil, errNotDeterministic
		}
		last = key
		out = append(appendQuoted(out, string(rest[:size])), ':')
		if out, in, err = toJSON(out, rest[size:]); err != nil {
			return nil, nil, err
		}
	}
	return append(out, '}'), in, nil
}

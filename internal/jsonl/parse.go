package jsonl

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"ckpt/stream"
)

// appendHead appends an item's type and argument in the shortest form.
func appendHead(out []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(out, major|byte(n))
	case n < 1<<8:
		return append(out, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(out, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(out, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(out, major|27), n)
}

// errLong: meta that no stream can have.
var errLong = fmt.Errorf("%w: meta of more than %d bytes", stream.ErrCorrupt, stream.MaxMetaBytes)

// toCBOR appends the CBOR of a JSON value.
func toCBOR(out, in []byte) (_ []byte, err error) {
	if len(out) > stream.MaxMetaBytes {
		return nil, errLong
	}
	switch in[0] {
	case 'n':
		return append(out, simpleNull), nil
	case 't':
		return append(out, simpleTrue), nil
	case 'f':
		return append(out, simpleFalse), nil
	case '"':
		s, err := unquote(in)
		if err != nil {
			return nil, err
		}
		return stringToCBOR(out, s)
	case '[':
		return arrayToCBOR(out, in)
	case '{':
		return mapToCBOR(out, in)
	}
	return numberToCBOR(out, string(in))
}

func arrayToCBOR(out, in []byte) ([]byte, error) {
	n, err := count(in)
	if err != nil {
		return nil, err
	}
	out = appendHead(out, majorArray, n)
	err = each(in, func(_ string, value []byte) (err error) {
		out, err = toCBOR(out, value)
		return err
	})
	return out, err
}

// pair is where a map's key and its value are in the output.
type pair struct{ key, value, end int }

// mapToCBOR puts the keys in the order of their encoding.
func mapToCBOR(out, in []byte) ([]byte, error) {
	n, err := count(in)
	if err != nil {
		return nil, err
	}
	out = appendHead(out, majorMap, n)
	start := len(out)
	var pairs []pair
	err = each(in, func(key string, value []byte) error {
		p := pair{key: len(out)}
		out = append(appendHead(out, majorText, uint64(len(key))), key...)
		p.value = len(out)
		var err error
		if out, err = toCBOR(out, value); err != nil {
			if errors.Is(err, errLong) {
				return err
			}
			return fmt.Errorf("%.100s: %w", key, err)
		}
		p.end = len(out)
		pairs = append(pairs, p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	unsorted := slices.Clone(out[start:])
	keyOf := func(p pair) []byte { return unsorted[p.key-start : p.value-start] }
	slices.SortFunc(pairs, func(a, b pair) int { return bytes.Compare(keyOf(a), keyOf(b)) })
	out = out[:start]
	for i, p := range pairs {
		if i > 0 && bytes.Equal(keyOf(p), keyOf(pairs[i-1])) {
			_, _, name, _ := head(keyOf(p))
			return nil, errTwice(string(name))
		}
		out = append(out, unsorted[p.key-start:p.end-start]...)
	}
	return out, nil
}

func stringToCBOR(out []byte, s string) ([]byte, error) {
	if digits, ok := strings.CutPrefix(s, prefixInt); ok {
		return integerToCBOR(out, digits)
	}
	if text, ok := strings.CutPrefix(s, prefixText); ok {
		return append(appendHead(out, majorText, uint64(len(text))), text...), nil
	}
	if coded, ok := strings.CutPrefix(s, prefixBase64); ok {
		b, err := base64.StdEncoding.Strict().DecodeString(coded)
		if err != nil {
			return nil, fmt.Errorf("base64 string: %w", err)
		}
		s = string(b)
	}
	return append(appendHead(out, majorBytes, uint64(len(s))), s...), nil
}

// numberToCBOR takes integers in any notation: jq writes 1e3 and 1.0. Larger
// ones than every program keeps may have been rounded.
func numberToCBOR(out []byte, s string) ([]byte, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 && n <= maxExact {
		return appendHead(out, majorUint, uint64(n)), nil
	}
	// Rough bounds first, for an exponent could ask for gigabytes.
	if f, err := strconv.ParseFloat(s, 64); len(s) > 64 || err != nil || f > 1e20 || f < -1e20 || f != math.Trunc(f) {
		return nil, fmt.Errorf("%.64s is not an integer of 64 bits", s)
	}
	n, ok := new(big.Rat).SetString(s)
	if !ok || !n.IsInt() {
		return nil, fmt.Errorf("%s is not an integer of 64 bits", s)
	}
	i := n.Num()
	if !i.IsInt64() || i.Int64() > maxExact || i.Int64() < -maxExact {
		return nil, fmt.Errorf("%s may have been rounded; an integer that large stands in a string, %q", s, prefixInt+s)
	}
	return appendInteger(out, i)
}

// integerToCBOR takes the digits behind prefixInt.
func integerToCBOR(out []byte, digits string) ([]byte, error) {
	n, ok := new(big.Int), false
	if len(digits) <= len("-18446744073709551616") {
		n, ok = n.SetString(digits, 10)
	}
	if !ok || n.String() != digits {
		return nil, fmt.Errorf("%.64q is not an integer of 64 bits", prefixInt+digits)
	}
	return appendInteger(out, n)
}

func appendInteger(out []byte, n *big.Int) ([]byte, error) {
	major, text := byte(majorUint), n
	if n.Sign() < 0 {
		major, n = majorNegative, new(big.Int).Not(n)
	}
	if !n.IsUint64() {
		return nil, fmt.Errorf("%v is not an integer of 64 bits", text)
	}
	return appendHead(out, major, n.Uint64()), nil
}

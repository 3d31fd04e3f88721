package jsonl

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
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

// toCBOR appends the CBOR of a value as encoding/json decodes it with UseNumber.
func toCBOR(out []byte, v any, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	switch v := v.(type) {
	case nil:
		return append(out, simpleNull), nil
	case bool:
		if v {
			return append(out, simpleTrue), nil
		}
		return append(out, simpleFalse), nil
	case json.Number:
		return numberToCBOR(out, v.String())
	case string:
		return stringToCBOR(out, v)
	case []any:
		out = appendHead(out, majorArray, uint64(len(v)))
		for _, item := range v {
			var err error
			if out, err = toCBOR(out, item, depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		return mapToCBOR(out, v, depth)
	}
	return nil, fmt.Errorf("a value of type %T", v)
}

func mapToCBOR(out []byte, m map[string]any, depth int) ([]byte, error) {
	keys := make([][]byte, 0, len(m))
	values := make(map[string]any, len(m))
	for k, v := range m {
		encoded := append(appendHead(nil, majorText, uint64(len(k))), k...)
		keys = append(keys, encoded)
		values[string(encoded)] = v
	}
	slices.SortFunc(keys, slices.Compare)
	out = appendHead(out, majorMap, uint64(len(m)))
	for _, k := range keys {
		var err error
		if out, err = toCBOR(append(out, k...), values[string(k)], depth+1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func stringToCBOR(out []byte, s string) ([]byte, error) {
	if digits, ok := strings.CutPrefix(s, prefixInt); ok {
		return numberToCBOR(out, digits)
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

// numberToCBOR takes integers in any notation: jq writes 1e3 and 1.0.
func numberToCBOR(out []byte, s string) ([]byte, error) {
	if len(s) > 64 {
		return nil, fmt.Errorf("a number of %d characters", len(s))
	}
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		f, _, err := big.ParseFloat(s, 10, 256, big.ToNearestEven)
		if err != nil || !f.IsInt() || f.MantExp(nil) > 70 {
			return nil, fmt.Errorf("%s is not an integer of 64 bits", s)
		}
		if n, _ = f.Int(nil); !exact(n) {
			return nil, fmt.Errorf("%s was rounded by the program that wrote it; integers that large are strings, %q", s, prefixInt+"…")
		}
	}
	major := byte(majorUint)
	if n.Sign() < 0 {
		major, n = majorNegative, n.Not(n)
	}
	if !n.IsUint64() {
		return nil, fmt.Errorf("%s is not an integer of 64 bits", s)
	}
	return appendHead(out, major, n.Uint64()), nil
}

func exact(n *big.Int) bool { return n.IsInt64() && n.Int64() <= maxExact && n.Int64() >= -maxExact }

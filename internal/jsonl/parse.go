package jsonl

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
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
func toCBOR(out []byte, v any) ([]byte, error) {
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
			if out, err = toCBOR(out, item); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		return mapToCBOR(out, v)
	}
	return nil, fmt.Errorf("a value of type %T", v)
}

// mapToCBOR puts the keys in the order of their encoding.
func mapToCBOR(out []byte, m map[string]any) ([]byte, error) {
	keys := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(len(a)-len(b), strings.Compare(a, b))
	})
	out = appendHead(out, majorMap, uint64(len(m)))
	for _, k := range keys {
		var err error
		if out, err = toCBOR(append(appendHead(out, majorText, uint64(len(k))), k...), m[k]); err != nil {
			return nil, fmt.Errorf("%.100s: %w", k, err)
		}
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

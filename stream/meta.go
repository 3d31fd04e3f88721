package stream

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"ckpt/stream/record"
)

// CBOR's major types, RFC 8949 §3.1.
const (
	majorUint   = 0
	majorBytes  = 2
	majorText   = 3
	majorArray  = 4
	majorMap    = 5
	majorTag    = 6
	majorSimple = 7

	cborNull = 0xf6
)

// item is one data item of CBOR, as it stands.
type item []byte

// field is one pair of a map: the key, a text string as it is encoded, the text, and
// the value.
type field struct {
	key   item
	name  []byte
	value item
}

// Refs returns the record's refs, by name. The caller may change the map.
func (r *Record) Refs() (map[string]uint64, error) {
	fields, err := r.fields("refs")
	if err != nil || fields == nil {
		return nil, err
	}
	refs := make(map[string]uint64, len(fields))
	for _, f := range fields {
		n, err := f.value.uint()
		if err != nil {
			return nil, fmt.Errorf("%w: refs.%s is no reference", ErrCorrupt, f.name)
		}
		refs[string(f.name)] = n
	}
	return refs, nil
}

// Object returns the fields that the records of all objects have.
func (r *Record) Object() (*record.Object, error) {
	var l Links
	if err := l.Read(r); err != nil {
		return nil, err
	}
	o, err := l.Object()
	return &o, err
}

// Uint returns a top-level field of meta that is a number and not negative, 0 if
// it is not there. It is cheap: nothing else of meta is decoded.
func (r *Record) Uint(name string) (uint64, error) {
	if name == "objref" && r.named.meta != nil && sameBytes(r.named.meta, r.Meta) {
		return r.named.objref, nil
	}
	var space [32]field
	fields, err := appendFields(space[:0], r.Meta)
	if err != nil {
		return 0, err
	}
	n, err := uintIn(fields, name)
	if name == "objref" && err == nil {
		r.named = nameOf{r.Meta, n}
	}
	return n, err
}

// nameOf is a meta and the objref in it, which each phase of a restart asks for.
type nameOf struct {
	meta   []byte
	objref uint64
}

func uintIn(fields []field, name string) (uint64, error) {
	for i := range fields {
		if f := &fields[i]; string(f.name) == name {
			n, err := f.value.uint()
			if err != nil {
				return 0, fmt.Errorf("%w: %s is no number from 0 on", ErrCorrupt, name)
			}
			return n, nil
		}
	}
	return 0, nil
}

// find returns the value of a top-level field, nil if it is not there.
func (r *Record) find(name string) (item, error) {
	var space [32]field
	fields, err := appendFields(space[:0], r.Meta)
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		if string(f.name) == name {
			return f.value, nil
		}
	}
	return nil, nil
}

// fields returns the pairs of a top-level field that is a map, none if it is not
// there.
func (r *Record) fields(name string) ([]field, error) {
	v, err := r.find(name)
	if err != nil || v == nil || v[0] == cborNull {
		return nil, err
	}
	fields, err := appendFields(nil, v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return fields, nil
}

// appendFields takes a map apart, which is all of b. Keys are text strings, and
// none is there twice.
func appendFields(fields []field, b []byte) ([]field, error) {
	major, n, rest, err := head(b)
	if err != nil {
		return nil, err
	}
	if major != majorMap {
		return nil, errNoMap
	}
	if n > maxPairs {
		return nil, fmt.Errorf("%w: a map of %d pairs", ErrCorrupt, n)
	}
	sorted := true
	for range n {
		var f field
		if f.key, f.name, rest, err = nextText(rest); err != nil {
			return nil, err
		}
		if f.value, rest, err = next(rest, maxNested-1); err != nil {
			return nil, err
		}
		if k := len(fields); k > 0 && compareKeys(fields[k-1], f) >= 0 {
			sorted = false
		}
		fields = append(fields, f)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: bytes behind meta", ErrCorrupt)
	}
	if !sorted {
		return fields, unique(fields)
	}
	return fields, nil
}

// compareKeys is the order of RFC 8949 §4.2.1 for keys that are text: shorter ones
// come first.
func compareKeys(a, b field) int {
	if len(a.name) != len(b.name) {
		return cmp.Compare(len(a.name), len(b.name))
	}
	return bytes.Compare(a.name, b.name)
}

// unique makes sure that no key is in a map twice, which is for pairs that are not
// in order: of those that are, neighbours have been compared.
func unique(fields []field) error {
	seen := make(map[string]bool, len(fields))
	for _, f := range fields {
		if name := string(f.name); seen[name] {
			return fmt.Errorf("%w: %q is there twice", ErrCorrupt, name)
		} else {
			seen[name] = true
		}
	}
	return nil
}

// nextText splits a text string off b.
func nextText(b []byte) (it item, text, rest []byte, err error) {
	major, n, text, err := head(b)
	switch {
	case err != nil:
		return nil, nil, nil, err
	case major != majorText:
		return nil, nil, nil, fmt.Errorf("%w: a key that is no text", ErrCorrupt)
	case n > uint64(len(text)):
		return nil, nil, nil, errShort
	}
	text, rest = text[:n], text[n:]
	return b[:len(b)-len(rest)], text, rest, nil
}

// next splits the first data item off b, in which others are nested at most
// depth deep.
func next(b []byte, depth int) (it item, rest []byte, err error) {
	major, n, rest, err := head(b)
	if err != nil {
		return nil, nil, err
	}
	switch major {
	case majorTag:
		return nil, nil, fmt.Errorf("%w: a tag in meta", ErrCorrupt)
	case majorBytes, majorText:
		if n > uint64(len(rest)) {
			return nil, nil, errShort
		}
		rest = rest[n:]
	case majorArray, majorMap:
		if n > uint64(len(rest)) { // each takes a byte
			return nil, nil, errShort
		}
		if depth--; depth < 0 {
			return nil, nil, fmt.Errorf("%w: meta is nested too deep", ErrCorrupt)
		}
		if major == majorMap {
			n *= 2
		}
		for range n {
			if _, rest, err = next(rest, depth); err != nil {
				return nil, nil, err
			}
		}
	}
	return b[:len(b)-len(rest)], rest, nil
}

// head reads the head of a data item: its major type, its argument and what
// follows.
func head(b []byte) (major byte, arg uint64, rest []byte, err error) {
	if len(b) == 0 {
		return 0, 0, nil, errShort
	}
	major, low := b[0]>>5, b[0]&31
	b = b[1:]
	if low < 24 {
		return major, uint64(low), b, nil
	}
	if low > 27 {
		return 0, 0, nil, fmt.Errorf("%w: an item of indefinite length", ErrCorrupt)
	}
	size := 1 << (low - 24)
	if len(b) < size {
		return 0, 0, nil, errShort
	}
	if major == majorSimple && size == 1 && b[0] < 32 {
		return 0, 0, nil, fmt.Errorf("%w: a simple value of two bytes that fits into one", ErrCorrupt)
	}
	switch size {
	case 1:
		arg = uint64(b[0])
	case 2:
		arg = uint64(binary.BigEndian.Uint16(b))
	case 4:
		arg = uint64(binary.BigEndian.Uint32(b))
	default:
		arg = binary.BigEndian.Uint64(b)
	}
	return major, arg, b[size:], nil
}

var errShort = fmt.Errorf("%w: meta ends too early", ErrCorrupt)

// uint returns the value of an unsigned number; null and nothing are 0.
func (it item) uint() (uint64, error) {
	if len(it) == 0 || it[0] == cborNull {
		return 0, nil
	}
	major, n, _, err := head(it)
	if err == nil && major != majorUint {
		err = ErrCorrupt
	}
	return n, err
}

// Set replaces or adds top-level fields of meta and leaves every other field
// as it is, byte for byte; a nil value removes the field.
func (r *Record) Set(fields map[string]any) error {
	changed := make([]field, 0, len(fields))
	for name, v := range fields {
		f := named(name)
		switch v := v.(type) {
		case nil:
		case uint64:
			f.value = appendHead(nil, majorUint, v)
		case map[string]uint64:
			f.value = encodeRefs(v)
		default:
			b, err := Marshal(v)
			if err != nil {
				return err
			}
			f.value = b
		}
		changed = append(changed, f)
	}
	return r.set(changed)
}

// SetRefs replaces the refs map.
func (r *Record) SetRefs(refs map[string]uint64) error {
	return r.Set(map[string]any{"refs": refs})
}

func encodeRefs(refs map[string]uint64) item {
	fields := make([]field, 0, len(refs))
	for name, ref := range refs {
		f := named(name)
		f.value = appendHead(nil, majorUint, ref)
		fields = append(fields, f)
	}
	return join(fields)
}

// set is Set of fields that are encoded; no value removes one.
func (r *Record) set(changed []field) error {
	var space [32]field
	fields, err := appendFields(space[:0], r.Meta)
	if err != nil {
		return err
	}
	isChanged := func(f field) bool {
		return slices.ContainsFunc(changed, func(c field) bool { return bytes.Equal(c.name, f.name) })
	}
	fields = slices.DeleteFunc(fields, isChanged)
	for _, f := range changed {
		if f.value != nil {
			fields = append(fields, f)
		}
	}
	r.Meta = join(fields)
	return nil
}

// join makes a map of pairs, in order.
func join(fields []field) []byte {
	slices.SortFunc(fields, compareKeys)
	size := 9
	for _, f := range fields {
		size += len(f.key) + len(f.value)
	}
	b := appendHead(make([]byte, 0, size), majorMap, uint64(len(fields)))
	for _, f := range fields {
		b = append(append(b, f.key...), f.value...)
	}
	return b
}

// named returns a pair with this key.
func named(name string) field {
	const most = 9 // bytes of a head
	key := append(appendHead(make([]byte, 0, len(name)+most), majorText, uint64(len(name))), name...)
	return field{key: key, name: key[len(key)-len(name):]}
}

// appendHead appends the head of a data item, as short as can be.
func appendHead(b []byte, major byte, arg uint64) []byte {
	switch m := major << 5; {
	case arg < 24:
		return append(b, m|byte(arg))
	case arg <= 0xff:
		return append(b, m|24, byte(arg))
	case arg <= 0xffff:
		return binary.BigEndian.AppendUint16(append(b, m|25), uint16(arg))
	case arg <= 0xffffffff:
		return binary.BigEndian.AppendUint32(append(b, m|26), uint32(arg))
	default:
		return binary.BigEndian.AppendUint64(append(b, m|27), arg)
	}
}

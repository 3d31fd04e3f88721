package stream

import (
	"fmt"
	"reflect"

	"github.com/fxamacker/cbor/v2"

	"ckpt/stream/record"
)

// Record is one record without its data, which is read and written apart. Not
// even its reading methods may be called by two goroutines at once, and who changes
// bytes of Meta in place makes a Record of them anew.
type Record struct {
	Type  record.Type
	Flags record.Flags
	// Meta is one CBOR map in the deterministic encoding of RFC 8949 §4.2.1.
	Meta []byte
	// DataLen is how many raw bytes follow meta, at most MaxDataBytes.
	DataLen int64

	decoded decoded // by Decode, last
	named   nameOf  // by Uint, last
}

// New makes a record of a type in the table from its Go struct (or a pointer
// to it), with the flags the table gives that type.
func New(t record.Type, meta any) (*Record, error) {
	info := record.Lookup(t)
	if info == nil {
		return nil, fmt.Errorf("record type %d is not in the table", uint16(t))
	}
	b, err := Marshal(meta)
	if err != nil {
		return nil, fmt.Errorf("%v record: %w", t, err)
	}
	return &Record{Type: t, Flags: info.Flags, Meta: b}, nil
}

// Decode stores the record's meta in v, a pointer to the type's Go struct.
// Fields v does not have are ignored; they stay in r.Meta. What v points to
// afterwards may be shared with other values decoded from r: it is not to be
// changed.
func (r *Record) Decode(v any) error {
	to := reflect.ValueOf(v)
	info := record.Lookup(r.Type)
	if info == nil || to.Kind() != reflect.Pointer || to.Type().Elem() != info.Meta || to.IsNil() || !to.Elem().IsZero() {
		return Unmarshal(r.Meta, v)
	}
	if kept := r.decoded.value; kept != nil && reflect.TypeOf(kept) == to.Type() && sameBytes(r.decoded.meta, r.Meta) {
		to.Elem().Set(reflect.ValueOf(kept).Elem())
		return nil
	}
	if err := Unmarshal(r.Meta, v); err != nil {
		return err
	}
	kept := reflect.New(info.Meta)
	kept.Elem().Set(to.Elem())
	r.decoded = decoded{r.Meta, kept.Interface()}
	return nil
}

// Decoded returns the record's meta as its type's Go struct T, which is not copied: it
// is not to be changed.
func Decoded[T any](r *Record) (*T, error) {
	if v, ok := r.decoded.value.(*T); ok && sameBytes(r.decoded.meta, r.Meta) {
		return v, nil
	}
	v := new(T)
	if err := Unmarshal(r.Meta, v); err != nil {
		return nil, err
	}
	r.decoded = decoded{r.Meta, v}
	return v, nil
}

// DecodeAhead decodes meta for those who will ask for it, if its type is in the table.
// They are told what is wrong with it.
func (r *Record) DecodeAhead() {
	info := record.Lookup(r.Type)
	if info == nil || r.decoded.value != nil && sameBytes(r.decoded.meta, r.Meta) {
		return
	}
	if v := info.New(); Unmarshal(r.Meta, v) == nil {
		r.decoded = decoded{r.Meta, v}
	}
}

// decoded is a meta and a pointer to what it was decoded to: a description is looked at
// in many places, and to decode it is most of the work.
type decoded struct {
	meta  []byte
	value any
}

// sameBytes reports whether two slices are the same memory.
func sameBytes(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// errNoMap: meta is something else than a map.
var errNoMap = fmt.Errorf("%w: meta is not a CBOR map", ErrCorrupt)

// isMap looks at the major type of meta's first byte, RFC 8949 §3.1.
func isMap(meta []byte) bool { return len(meta) > 0 && meta[0]>>5 == 5 }

// Marshal encodes v as a stream's meta: deterministic, map keys as text
// strings from the cbor tags, every other Go string as a byte string, for
// Linux paths and names are bytes.
func Marshal(v any) ([]byte, error) { return encMode.Marshal(v) }

// Unmarshal decodes meta under the format's limits: nesting of at most 8,
// no tags, no indefinite lengths, no key twice.
func Unmarshal(meta []byte, v any) error {
	if err := decMode.Unmarshal(meta, v); err != nil {
		return fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	return nil
}

var (
	encMode = mustEnc(cbor.StringToByteString)
	decMode = mustDec()
)

// Limits of what is in meta.
const (
	maxNested = 8    // arrays and maps in one another
	maxPairs  = 4096 // of a map
)

func mustEnc(s cbor.StringMode) cbor.EncMode {
	o := cbor.CoreDetEncOptions()
	o.String = s
	o.NilContainers = cbor.NilContainerAsEmpty
	o.TagsMd = cbor.TagsForbidden
	m, err := o.EncMode()
	if err != nil {
		panic(err)
	}
	return m
}

func mustDec() cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey:          cbor.DupMapKeyEnforcedAPF,
		IndefLength:        cbor.IndefLengthForbidden,
		TagsMd:             cbor.TagsForbidden,
		MaxNestedLevels:    maxNested,
		MaxArrayElements:   MaxMetaBytes,
		MaxMapPairs:        maxPairs,
		ByteStringToString: cbor.ByteStringToStringAllowed,
		FieldNameMatching:  cbor.FieldNameMatchingCaseSensitive,
		// Filters pass on what they don't look at, also text that is none.
		UTF8: cbor.UTF8DecodeInvalid,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return m
}

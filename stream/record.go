package stream

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"ckpt/stream/record"
)

// Record is one record without its data, which is read and written apart.
type Record struct {
	Type  record.Type
	Flags record.Flags
	// Meta is one CBOR map in the deterministic encoding of RFC 8949 §4.2.1.
	Meta []byte
	// DataLen is how many raw bytes follow meta, at most MaxDataBytes.
	DataLen int64
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
// Fields v does not have are ignored; they stay in r.Meta.
func (r *Record) Decode(v any) error { return Unmarshal(r.Meta, v) }

// Set replaces or adds top-level fields of meta and leaves every other field
// as it is, byte for byte; a nil value removes the field.
func (r *Record) Set(fields map[string]any) error {
	var m map[string]cbor.RawMessage
	if err := keyDecMode.Unmarshal(r.Meta, &m); err != nil {
		return fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	if m == nil { // CBOR's null
		return errNoMap
	}
	for k, v := range fields {
		if v == nil {
			delete(m, k)
			continue
		}
		b, err := Marshal(v)
		if err != nil {
			return err
		}
		m[k] = b
	}
	b, err := keyMode.Marshal(m)
	if err != nil {
		return err
	}
	r.Meta = b
	return nil
}

// errNoMap: meta is something else than a map.
var errNoMap = fmt.Errorf("%w: meta is not a CBOR map", ErrCorrupt)

// isMap looks at the major type of meta's first byte, RFC 8949 §3.1.
func isMap(meta []byte) bool { return len(meta) > 0 && meta[0]>>5 == 5 }

// SetRefs replaces the refs map.
func (r *Record) SetRefs(refs map[string]uint64) error {
	b, err := keyMode.Marshal(refs)
	if err != nil {
		return err
	}
	return r.Set(map[string]any{"refs": cbor.RawMessage(b)})
}

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
	keyMode = mustEnc(cbor.StringToTextString)
	decMode = mustDec(cbor.ByteStringToStringAllowed)
	// keyDecMode is for maps of raw values, whose only strings are keys: one
	// of bytes would come back as text.
	keyDecMode = mustDec(cbor.ByteStringToStringForbidden)
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

func mustDec(s cbor.ByteStringToStringMode) cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey:          cbor.DupMapKeyEnforcedAPF,
		IndefLength:        cbor.IndefLengthForbidden,
		TagsMd:             cbor.TagsForbidden,
		MaxNestedLevels:    8,
		MaxArrayElements:   MaxMetaBytes,
		MaxMapPairs:        4096,
		ByteStringToString: s,
		FieldNameMatching:  cbor.FieldNameMatchingCaseSensitive,
		// Filters pass on what they don't look at, also text that is none.
		UTF8: cbor.UTF8DecodeInvalid,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return m
}

package stream

import (
	"fmt"
	"math"
	"slices"

	"ckpt/stream/record"
)

// Links is what in a record's meta names objects: the record itself, if it is of one,
// and those that it refers to. They are read, and changed, in one go and without a look
// at the rest. One Links can be used for record after record.
type Links struct {
	Refs []Ref

	fields []field // all of meta
	parts  []field // of its refs
	kcmp   record.Kcmp
	space  [9]byte
}

// Ref is one of the record's refs. Its name is part of the record's meta.
type Ref struct {
	Name []byte
	ID   uint64
}

// Ref returns the reference of that name, 0 if there is none.
func (l *Links) Ref(name string) uint64 {
	for i := range l.Refs {
		if string(l.Refs[i].Name) == name {
			return l.Refs[i].ID
		}
	}
	return 0
}

// Read takes the record's meta apart.
func (l *Links) Read(rec *Record) (err error) {
	l.Refs, l.parts = l.Refs[:0], l.parts[:0]
	if l.fields, err = appendFields(l.fields[:0], rec.Meta); err != nil {
		return err
	}
	for i := range l.fields {
		if f := &l.fields[i]; string(f.name) == "refs" {
			return l.readRefs(f.value)
		}
	}
	return nil
}

func (l *Links) readRefs(v item) (err error) {
	if v[0] == cborNull {
		return nil
	}
	if l.parts, err = appendFields(l.parts, v); err != nil {
		return fmt.Errorf("refs: %w", err)
	}
	for _, f := range l.parts {
		n, err := f.value.uint()
		if err != nil {
			return fmt.Errorf("%w: refs.%s is no reference", ErrCorrupt, f.name)
		}
		l.Refs = append(l.Refs, Ref{f.name, n})
	}
	return nil
}

// Uint returns a top-level field, as Record.Uint does.
func (l *Links) Uint(name string) (uint64, error) { return uintIn(l.fields, name) }

// Object returns the fields that the records of all objects have. Those with bytes of
// their own are good until the next Read.
func (l *Links) Object() (o record.Object, err error) {
	for i := range l.fields {
		if f := &l.fields[i]; l.addTo(&o, f) != nil {
			return o, fmt.Errorf("%w: %s of an object: %x", ErrCorrupt, f.name, []byte(f.value))
		}
	}
	return o, nil
}

// addTo reads a field that only objects have.
func (l *Links) addTo(o *record.Object, f *field) (err error) {
	switch string(f.name) {
	case "id":
		o.ID, err = f.value.uint()
	case "objref":
		o.Objref, err = f.value.uint()
	case "genid":
		var n uint64
		if n, err = f.value.uint(); n > math.MaxUint32 {
			err = ErrCorrupt
		}
		o.Genid = uint32(n)
	case "kcmp":
		o.Kcmp, err = l.readKcmp(f.value)
	case "ident":
		if major, _, text, e := head(f.value); e == nil && major == majorBytes {
			o.Ident = text
			return nil
		}
		err = Unmarshal(f.value, &o.Ident)
	}
	return err
}

// readKcmp reads what is written as we write it, and leaves the rest to the library.
func (l *Links) readKcmp(v item) (k *record.Kcmp, err error) {
	if v[0] == cborNull {
		return nil, nil
	}
	var space [4]field
	fields, err := appendFields(space[:0], v)
	if err != nil {
		return nil, err
	}
	l.kcmp = record.Kcmp{}
	for _, f := range fields {
		major, n, _, err := head(f.value)
		if err != nil || major != majorUint || n > math.MaxInt {
			return k, Unmarshal(v, &k)
		}
		switch string(f.name) {
		case "type":
			l.kcmp.Type = int(n)
		case "tid":
			l.kcmp.TID = int(n)
		case "idx":
			l.kcmp.Idx = n
		}
	}
	return &l.kcmp, nil
}

// raw are the fields by which a raw stream names an object.
var raw = []string{"id", "genid", "kcmp", "ident"}

// Write changes the record, which is the one that was read: it gets the refs as they are
// in l now. If objref is not 0, that names the object in place of what names it in a raw
// stream. Everything else stays as it is, byte for byte.
func (l *Links) Write(rec *Record, objref uint64) {
	if objref != 0 {
		l.fields = slices.DeleteFunc(l.fields, func(f field) bool {
			return string(f.name) == "objref" || slices.Contains(raw, string(f.name))
		})
		f := objrefField
		f.value = appendHead(l.space[:0], majorUint, objref)
		l.fields = append(l.fields, f)
	}
	if i := slices.IndexFunc(l.fields, func(f field) bool { return string(f.name) == "refs" }); i >= 0 && len(l.parts) > 0 {
		l.fields[i].value = l.writeRefs()
	}
	rec.Meta = join(l.fields)
}

// objrefField has no value yet.
var objrefField = named("objref")

func (l *Links) writeRefs() item {
	const most = 9 // bytes of a head
	values := make([]byte, 0, most*len(l.Refs))
	for i, r := range l.Refs {
		from := len(values)
		values = appendHead(values, majorUint, r.ID)
		l.parts[i].value = values[from:]
	}
	return join(l.parts)
}

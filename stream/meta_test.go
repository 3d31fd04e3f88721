package stream

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"ckpt/stream/record"
)

// TestMetaFields: fields are found without decoding the rest, in any order of keys.
func TestMetaFields(t *testing.T) {
	rec := &Record{Type: record.TypeFile, Meta: []byte("\xa5\x64refs\xa2\x62of\x05\x65inode\x19\x01\x00\x61a\x81\x81\xf4\x66objref\x1a\x00\x01\x00\x00\x64none\xf6\x61n\x20")}
	refs, err := rec.Refs()
	if want := map[string]uint64{"of": 5, "inode": 256}; err != nil || !maps.Equal(refs, want) {
		t.Errorf("refs %v, %v", refs, err)
	}
	for name, want := range map[string]uint64{"objref": 65536, "none": 0, "absent": 0} {
		if n, err := rec.Uint(name); err != nil || n != want {
			t.Errorf("%s is %d, %v", name, n, err)
		}
	}
	for _, name := range []string{"n", "a", "refs"} {
		if n, err := rec.Uint(name); err == nil {
			t.Errorf("%s is %d", name, n)
		}
	}
	for what, meta := range map[string]string{
		"a key twice": "\xa2\x61a\x00\x61a\x00", "twice, the first with a long head": "\xa2\x61a\x00\x78\x01a\x00",
		"refs in an array": "\xa1\x64refs\x80", "a negative reference": "\xa1\x64refs\xa1\x61a\x20", "a text": "\xa1\x64refs\xa1\x61a\x61a",
		"a key of bytes": "\xa1\x64refs\xa1\x41a\x00", "a reference twice": "\xa1\x64refs\xa2\x61a\x00\x61a\x00",
	} {
		if refs, err := (&Record{Meta: []byte(meta)}).Refs(); err == nil {
			t.Errorf("%s: %v", what, refs)
		}
	}
}

// TestDecodeAgain: a second look at a description sees what has changed since.
func TestDecodeAgain(t *testing.T) {
	rec, err := New(record.TypeFile, &record.File{Object: record.Object{Objref: 1}, Pos: 5})
	if err != nil {
		t.Fatal(err)
	}
	pos := func() int64 {
		t.Helper()
		var f record.File
		if err := rec.Decode(&f); err != nil {
			t.Fatal(err)
		}
		return f.Pos
	}
	for range 2 {
		if pos() != 5 {
			t.Error("not the position")
		}
	}
	if err := rec.Set(map[string]any{"pos": 7}); err != nil || pos() != 7 {
		t.Errorf("set to 7: %d, %v", pos(), err)
	}
	f := record.File{Flags: 3} // what is in v and not in meta stays
	if err := rec.Decode(&f); err != nil || f.Flags != 0 && f.Flags != 3 || f.Pos != 7 {
		t.Errorf("%+v, %v", f, err)
	}
	rec.Type = record.TypeReg
	var r record.Reg
	if err := rec.Decode(&r); err != nil || r.Objref != 1 {
		t.Errorf("as another type: %+v, %v", r, err)
	}
	if rec.Decode((*record.Reg)(nil)) == nil || rec.Decode(nil) == nil {
		t.Error("decoded into nothing")
	}
}

// FuzzMeta compares what is read and written by hand with what the library makes
// of the same bytes.
func FuzzMeta(f *testing.F) {
	for _, info := range record.Types() {
		meta, err := Marshal(info.New())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(meta, uint64(7))
	}
	f.Add([]byte("\xa1\x64refs\xa1\x65inode\x01"), uint64(1)<<40)
	f.Add([]byte("\xa3\x62id\x01\x65genid\x02\x64kcmp\xa3\x63tid\x01\x63idx\x02\x64type\x03"), uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, meta []byte, n uint64) {
		rec := &Record{Type: record.TypeReg, Meta: meta}
		var raw map[string]cbor.RawMessage
		var whole struct {
			record.Object
			Refs map[string]uint64 `cbor:"refs"`
		}
		rawErr, wholeErr := Unmarshal(meta, &raw), Unmarshal(meta, &whole)
		var l Links
		readErr := l.Read(rec)
		o, err := rec.Object()
		if err == nil && rawErr != nil && raw != nil {
			t.Fatalf("an object, where the library says %v", rawErr)
		}
		refs, refsErr := rec.Refs()
		if (readErr == nil) != (refsErr == nil) || readErr == nil && !sameRefs(l.Refs, refs) {
			t.Fatalf("refs %v, %v, taken apart with the rest %v, %v", refs, refsErr, l.Refs, readErr)
		}
		if err == nil && refsErr == nil && wholeErr == nil {
			if !sameObject(o, &whole.Object) || !maps.Equal(refs, whole.Refs) {
				t.Fatalf("%+v %v, the library: %+v", o, refs, whole)
			}
		}
		if err == nil && n != 0 {
			checkWrite(t, &l, rec, n)
		}
		if rec.Set(map[string]any{"objref": n, "id": nil}) != nil || rec.SetRefs(map[string]uint64{"inode": n}) != nil {
			return
		}
		var again map[string]cbor.RawMessage
		if err := Unmarshal(rec.Meta, &again); err != nil && rawErr == nil {
			t.Fatalf("%x became %x: %v", meta, rec.Meta, err)
		}
		if refs, err := rec.Refs(); err != nil || refs["inode"] != n || len(refs) != 1 {
			t.Fatalf("refs %v, %v", refs, err)
		}
		for k, v := range raw {
			if k != "objref" && k != "id" && k != "refs" && rawErr == nil && !bytes.Equal(v, again[k]) {
				t.Fatalf("%q was %x and is %x", k, v, again[k])
			}
		}
	})
}

func sameRefs(list []Ref, refs map[string]uint64) bool {
	return len(list) == len(refs) && !slices.ContainsFunc(list, func(r Ref) bool {
		id, ok := refs[string(r.Name)]
		return !ok || id != r.ID
	})
}

// checkWrite compares what Links writes with what Set writes.
func checkWrite(t *testing.T, l *Links, rec *Record, n uint64) {
	fields := map[string]any{"objref": n, "id": nil, "genid": nil, "kcmp": nil, "ident": nil}
	refs := map[string]uint64{}
	for i := range l.Refs {
		l.Refs[i].ID += n
		refs[string(l.Refs[i].Name)] = l.Refs[i].ID
	}
	if len(refs) > 0 {
		fields["refs"] = refs
	}
	set, written := &Record{Meta: rec.Meta}, &Record{Meta: rec.Meta}
	if err := set.Set(fields); err != nil {
		t.Fatal(err)
	}
	if l.Write(written, n); !bytes.Equal(set.Meta, written.Meta) {
		t.Fatalf("%x became %x, by Set %x", rec.Meta, written.Meta, set.Meta)
	}
}

func sameObject(a, b *record.Object) bool {
	if (a.Kcmp == nil) != (b.Kcmp == nil) || a.Kcmp != nil && *a.Kcmp != *b.Kcmp {
		return false
	}
	return a.ID == b.ID && a.Objref == b.Objref && a.Genid == b.Genid && bytes.Equal(a.Ident, b.Ident)
}

package stream

import (
	"bytes"
	"io"
	"testing"
)

// FuzzReader: no input makes the reader panic or take more memory than a
// record may, and what it accepts is written again byte for byte, but for
// totals and CBOR that is not deterministic in END.
func FuzzReader(f *testing.F) {
	f.Add(sample(f))
	f.Add(appendPreamble(nil))
	h := header{typ: TypeHeader, metaLen: 1 << 31, dataLen: 1 << 62}
	f.Add(h.append(appendPreamble(nil), nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var out bytes.Buffer
		err := Filter("fuzz", bytes.NewReader(b), &out, func(w *Writer, rec *Record, data io.Reader) error {
			for _, v := range []any{&Object{}, &ObjrefUse{}, Lookup(TypeVMA).New()} {
				_ = rec.Decode(v)
			}
			if info := Lookup(rec.Type); info != nil {
				_ = rec.Decode(info.New())
			}
			return w.Write(rec, data)
		})
		if err != nil {
			return
		}
		again := out.Bytes()
		if len(again) < len(b)/2 {
			t.Fatalf("%d bytes became %d", len(b), len(again))
		}
		if _, err := readAll(bytes.NewReader(again)); err != nil {
			t.Fatalf("what was written is refused: %v", err)
		}
	})
}

// FuzzSet: changing a field of any meta never panics, and leaves meta that
// decodes and is stable.
func FuzzSet(f *testing.F) {
	for _, info := range Types() {
		meta, err := Marshal(info.New())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(meta, uint64(7))
	}
	f.Fuzz(func(t *testing.T, meta []byte, n uint64) {
		rec := &Record{Type: TypeReg, Meta: meta}
		if rec.Set(map[string]any{"objref": n, "id": nil}) != nil {
			return
		}
		var o Object
		if err := rec.Decode(&o); err == nil && (o.Objref != n || o.ID != 0) {
			t.Fatalf("%+v", o)
		}
		first := bytes.Clone(rec.Meta)
		if err := rec.Set(map[string]any{"objref": n}); err != nil || !bytes.Equal(first, rec.Meta) {
			t.Fatalf("set again: %x became %x, %v", first, rec.Meta, err)
		}
	})
}

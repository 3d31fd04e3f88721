package stream

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"

	"ckpt/stream/record"
)

// FuzzReader: no input makes the reader panic or take more memory than a
// record may. What it accepts a filter passes on byte for byte, but for
// END, and what it decodes has one encoding.
func FuzzReader(f *testing.F) {
	// Small seeds, for the fuzzer is long in making large ones smaller.
	f.Add(bulky(f, 5, 0, 7))
	for _, info := range record.Types() {
		var b bytes.Buffer
		w := NewWriter(&b)
		v := info.New()
		fill(reflect.ValueOf(v).Elem(), 1)
		if err := errors.Join(w.Add(record.TypeHeader, &record.Header{Stage: record.StageRaw}), w.Add(info.Type, v)); err != nil {
			f.Fatal(err)
		}
		_ = w.Flush()
		f.Add(mended(b.Bytes()))
	}
	f.Add(appendPreamble(nil, current))
	h := header{typ: record.TypeHeader, metaLen: 1 << 31, dataLen: 1 << 62}
	f.Add(h.append(appendPreamble(nil, current), nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		passedOn(t, b)
		passedOn(t, mended(b))
	})
}

// mended puts right what random changes would be found by: the preamble, the
// checksums and END. Without that hardly any input gets past the framing.
func mended(b []byte) []byte {
	out := appendPreamble(nil, current)
	var total totals
	for rest := b[min(preambleBytes, len(b)):]; len(rest) >= headerBytes; {
		h := parseHeader(rest)
		h.flags &= knownFlags
		rest = rest[headerBytes:]
		h.metaLen = min(h.metaLen, uint32(len(rest)))
		meta := rest[:h.metaLen]
		rest = rest[h.metaLen:]
		h.dataLen = min(h.dataLen, uint64(len(rest)))
		if h.typ == record.TypeEnd {
			break
		}
		out = append(append(h.append(out, meta), meta...), rest[:h.dataLen]...)
		total.add(&Record{Meta: meta, DataLen: int64(h.dataLen)})
		rest = rest[h.dataLen:]
	}
	end, err := New(record.TypeEnd, &record.End{Totals: total.Totals})
	if err != nil {
		panic(err)
	}
	h := header{typ: record.TypeEnd, flags: record.Critical, metaLen: uint32(len(end.Meta))}
	return append(h.append(out, end.Meta), end.Meta...)
}

// passedOn lets a filter pass b on.
func passedOn(t *testing.T, b []byte) {
	t.Helper()
	var out bytes.Buffer
	err := Filter("fuzz", bytes.NewReader(b), &out, func(w *Writer, rec *Record, data io.Reader) error {
		if info := record.Lookup(rec.Type); info != nil {
			oneEncoding(t, rec, info)
		}
		return w.Write(rec, data)
	})
	if err != nil {
		if _, err := readAll(&out); err == nil {
			t.Fatal("a stream that was refused is whole behind the filter")
		}
		return
	}
	again, end := out.Bytes(), endOf(t, b)
	if !bytes.Equal(b[:end], again[:min(end, len(again))]) {
		t.Fatalf("%x\nbecame\n%x", b, again)
	}
	var third bytes.Buffer
	if err := Filter("fuzz", bytes.NewReader(again), &third, pass); err != nil || !bytes.Equal(again, third.Bytes()) {
		t.Fatalf("%x\nbecame\n%x, %v", again, third.Bytes(), err)
	}
}

// oneEncoding: what decodes as its type encodes to what decodes to the same.
func oneEncoding(t *testing.T, rec *Record, info *record.TypeInfo) {
	t.Helper()
	first, second := info.New(), info.New()
	if rec.Decode(first) != nil {
		return
	}
	b, err := Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := Unmarshal(b, second); err != nil {
		t.Fatalf("%x became %x: %v", rec.Meta, b, err)
	}
	if again, err := Marshal(second); err != nil || !bytes.Equal(b, again) {
		t.Fatalf("%x, then %x, %v", b, again, err)
	}
}

// endOf returns where a valid stream's END begins.
func endOf(t testing.TB, b []byte) int {
	t.Helper()
	r := NewReader(bytes.NewReader(b))
	for {
		rec, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if rec.Type == record.TypeEnd {
			return int(r.Offset())
		}
	}
}

// FuzzSet: changing a field of any meta never panics, and leaves meta that
// decodes and is stable.
func FuzzSet(f *testing.F) {
	for _, info := range record.Types() {
		meta, err := Marshal(info.New())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(meta, uint64(7))
	}
	f.Fuzz(func(t *testing.T, meta []byte, n uint64) {
		rec := &Record{Type: record.TypeReg, Meta: meta}
		if rec.Set(map[string]any{"objref": n, "id": nil}) != nil {
			return
		}
		var o record.Object
		if err := rec.Decode(&o); err == nil && (o.Objref != n || o.ID != 0) {
			t.Fatalf("%+v", o)
		}
		first := bytes.Clone(rec.Meta)
		if err := rec.Set(map[string]any{"objref": n}); err != nil || !bytes.Equal(first, rec.Meta) {
			t.Fatalf("set again: %x became %x, %v", first, rec.Meta, err)
		}
	})
}

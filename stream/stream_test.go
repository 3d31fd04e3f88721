package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	"ckpt/stream/record"
)

// sample is a stream with a bit of everything, custom types among it.
func sample(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.Add(record.TypeHeader, &record.Header{Checkpoint: "c0ffee", Stage: record.StageShared, Host: "h\xff"}))
	must(w.Add(record.TypeReg, &record.Reg{Object: record.Object{Objref: 1}, Stat: record.Stat{Path: "/tmp/a\xff"}, Size: 7}))
	must(w.Add(record.TypeFile, &record.File{Object: record.Object{Objref: 2}, Refs: record.InodeRef{Inode: 1}}))
	must(w.Add(record.TypeFD, &record.FD{TID: 10, FD: 3, Refs: record.FDRefs{Of: 1, File: 2}}))
	meta, err := Marshal(map[string]any{})
	must(err)
	must(w.Write(&Record{Type: record.FirstCustom + 7, Meta: meta}, nil))
	rec, err := New(record.TypePages, &record.Pages{PID: 10, Extents: []record.Extent{{Start: 4096, End: 8192}}})
	must(err)
	rec.DataLen = 4096
	must(w.Write(rec, bytes.NewReader(bytes.Repeat([]byte{'p'}, 4096))))
	must(w.End(record.End{FrozenUS: 12}))
	return b.Bytes()
}

// readAll reads a stream to its end and returns how many records it had.
func readAll(r io.Reader) (int, error) {
	sr := NewReader(r)
	for n := 0; ; n++ {
		rec, err := sr.Next()
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if rec.Type == record.TypePages {
			if _, err := io.Copy(io.Discard, sr.Data()); err != nil {
				return n, err
			}
		}
	}
}

// keyMode encodes Go strings as text, as the keys of a map are.
var keyMode = mustEnc(cbor.StringToTextString)

func TestRoundTrip(t *testing.T) {
	for _, info := range record.Types() {
		t.Run(info.Name, func(t *testing.T) {
			v := info.New()
			fill(reflect.ValueOf(v).Elem(), 1)
			rec, err := New(info.Type, v)
			if err != nil {
				t.Fatal(err)
			}
			got := info.New()
			if err := rec.Decode(got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(v, got); diff != "" {
				t.Error(diff)
			}
			again, err := Marshal(got)
			if err != nil || !bytes.Equal(again, rec.Meta) {
				t.Errorf("encoding is not deterministic: %x, %x, %v", rec.Meta, again, err)
			}
			if t2, ok := record.TypeByName(info.Name); !ok || t2 != info.Type || info.Type.String() != info.Name {
				t.Errorf("name %s does not lead back", info.Name)
			}
		})
	}
}

// fill gives every field a value of its own.
func fill(v reflect.Value, n int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), n+i+1)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n+1)
		fill(v.Index(1), n+2)
	case reflect.String:
		v.SetString(fmt.Sprintf("s\xff%d", n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(-n))
	default:
		v.SetUint(uint64(n))
	}
}

func TestTruncation(t *testing.T) {
	b := sample(t)
	if n, err := readAll(bytes.NewReader(b)); err != nil || n != 7 {
		t.Fatalf("%d records, %v", n, err)
	}
	for i := range b {
		_, err := readAll(bytes.NewReader(b[:i]))
		if !errors.Is(err, ErrTruncated) && (i >= 8 || !errors.Is(err, ErrForeign)) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
}

func TestFlippedBits(t *testing.T) {
	b := sample(t)
	data := bytes.Index(b, bytes.Repeat([]byte{'p'}, 4096))
	for i := range b {
		if i >= data && i < data+4096 {
			continue // not covered, see the specification
		}
		for bit := range 8 {
			c := bytes.Clone(b)
			c[i] ^= 1 << bit
			minor := (i == 10 || i == 11) && binary.LittleEndian.Uint16(c[10:]) >= oldestMinor
			if _, err := readAll(bytes.NewReader(c)); (err == nil) != minor {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
		}
	}
}

func TestTrailing(t *testing.T) {
	b := sample(t)
	if _, err := readAll(bytes.NewReader(append(b, 0))); !errors.Is(err, ErrTrailing) {
		t.Errorf("one byte behind END: %v", err)
	}
}

func TestOrder(t *testing.T) {
	for name, types := range map[string][]record.Type{
		"two headers": {record.TypeHeader, record.TypeHeader}, "no header": {record.TypeTask}, "description behind bulk": {record.TypeHeader, record.TypePages, record.TypeTask},
	} {
		var b bytes.Buffer
		w := NewWriter(&b)
		for _, typ := range types {
			if err := w.Add(typ, record.Lookup(typ).New()); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.End(record.End{}); err != nil {
			t.Fatal(err)
		}
		if _, err := readAll(&b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOneByteReader(t *testing.T) {
	if n, err := readAll(iotest.OneByteReader(bytes.NewReader(sample(t)))); err != nil || n != 7 {
		t.Errorf("%d records, %v", n, err)
	}
}

func TestSetKeepsTheRest(t *testing.T) {
	meta, err := keyMode.Marshal(map[string]any{"unknown": []byte{1, 2}, "objref": 3, "x": map[string]any{"y": true}})
	if err != nil {
		t.Fatal(err)
	}
	rec := &Record{Type: record.TypeReg, Meta: meta}
	if err := rec.Set(map[string]any{"objref": nil, "id": uint64(9)}); err != nil {
		t.Fatal(err)
	}
	want, err := keyMode.Marshal(map[string]any{"unknown": []byte{1, 2}, "id": 9, "x": map[string]any{"y": true}})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(rec.Meta, want) {
		t.Errorf("%x, want %x", rec.Meta, want)
	}
	if err := rec.SetRefs(map[string]uint64{"inode": 4}); err != nil {
		t.Fatal(err)
	}
	var r struct {
		Refs record.InodeRef `cbor:"refs"`
	}
	if err := rec.Decode(&r); err != nil || r.Refs.Inode != 4 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestFilterPassesEverything(t *testing.T) {
	b := sample(t)
	var out bytes.Buffer
	err := Filter("test", bytes.NewReader(b), &out, func(w *Writer, rec *Record, data io.Reader) error { return w.Write(rec, data) })
	if err != nil || !bytes.Equal(out.Bytes(), b) {
		t.Errorf("%d bytes became %d, %v", len(b), out.Len(), err)
	}
}

func TestFilterDrops(t *testing.T) {
	var out bytes.Buffer
	err := Filter("test", bytes.NewReader(sample(t)), &out, func(w *Writer, rec *Record, data io.Reader) error {
		if rec.Type == record.TypePages {
			return nil
		}
		return w.Write(rec, data)
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := readAll(&out); err != nil || n != 6 {
		t.Errorf("%d records, %v", n, err)
	}
}

// TestAbort: the first cause comes through two filters, also out of the middle
// of a record's data.
func TestAbort(t *testing.T) {
	b := sample(t)
	cut := b[:bytes.Index(b, bytes.Repeat([]byte{'p'}, 4096))+100]
	pass := func(w *Writer, rec *Record, data io.Reader) error { return w.Write(rec, data) }
	var one, two bytes.Buffer
	if err := Filter("first", bytes.NewReader(cut), &one, pass); !errors.Is(err, ErrTruncated) {
		t.Fatalf("first: %v", err)
	}
	var abort *AbortError
	if err := Filter("second", &one, &two, pass); !errors.As(err, &abort) || abort.Tool != "first" {
		t.Fatalf("second: %v", err)
	}
	if _, err := readAll(&two); !errors.As(err, &abort) || abort.Tool != "first" || !strings.Contains(abort.Reason, "ends before") {
		t.Fatalf("third: %v", err)
	}
	var early bytes.Buffer
	NewWriter(&early).Abort("first", errors.New("no such process"))
	if _, err := readAll(&early); !errors.As(err, &abort) || abort.Reason != "no such process" {
		t.Fatalf("before HEADER: %v", err)
	}
}

func TestHostileLengths(t *testing.T) {
	for _, h := range []header{
		{typ: record.TypeHeader, metaLen: MaxMetaBytes + 1}, {typ: record.TypeHeader, metaLen: 1<<32 - 1},
		{typ: record.TypeHeader, dataLen: MaxDataBytes + 1}, {typ: record.TypeHeader, dataLen: 1<<64 - 1},
		{typ: record.TypeHeader, flags: 0x8000},
	} {
		b := h.append(appendPreamble(nil, current), nil)
		got := testing.AllocsPerRun(1, func() {
			if _, err := readAll(bytes.NewReader(b)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%+v: %v", h, err)
			}
		})
		if got > 50 {
			t.Errorf("%+v: %v allocations", h, got)
		}
	}
}

// TestSplice compares what comes through pipes and files, where data is
// spliced, with the copy.
func TestSplice(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 200<<10/16)
	var want bytes.Buffer
	write := func(out io.Writer) error {
		w := NewWriter(out)
		if err := w.Add(record.TypeHeader, &record.Header{}); err != nil {
			return err
		}
		for range 5 {
			rec, err := New(record.TypeContent, &record.Content{})
			if err != nil {
				return err
			}
			rec.DataLen = int64(len(big))
			if err := w.Write(rec, bytes.NewReader(big)); err != nil {
				return err
			}
		}
		return w.End(record.End{})
	}
	if err := write(&want); err != nil {
		t.Fatal(err)
	}
	pass := func(w *Writer, rec *Record, data io.Reader) error { return w.Write(rec, data) }
	r1, w1, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r2, w2, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 2)
	go func() { errs <- errors.Join(write(w1), w1.Close()) }()
	go func() { errs <- errors.Join(Filter("test", r1, w2, pass), w2.Close()) }()
	got, err := io.ReadAll(r2)
	if err := errors.Join(err, <-errs, <-errs); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%d bytes through pipes, want %d", len(got), want.Len())
	}
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Filter("test", bytes.NewReader(want.Bytes()), f, pass); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%d bytes in a file, want %d, %v", len(got), want.Len(), err)
	}
}

// bulky is a stream whose bulk records have these lengths.
func bulky(t testing.TB, lengths ...int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	if err := w.Add(record.TypeHeader, &record.Header{Checkpoint: "00"}); err != nil {
		t.Fatal(err)
	}
	for i, n := range lengths {
		rec, err := New(record.TypeContent, &record.Content{Offset: int64(i)})
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, n)
		for j := range data {
			data[j] = byte(j>>8 ^ j ^ i)
		}
		rec.DataLen = int64(n)
		if err := w.Write(rec, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.End(record.End{}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func fileOf(t *testing.T, b []byte) io.Reader {
	name := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func pass(w *Writer, rec *Record, data io.Reader) error { return w.Write(rec, data) }

package stream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"ckpt/stream/record"
)

// TestWhereTheReaderStands: between calls the file stands at the next data byte,
// also when somebody takes data from the file itself.
func TestWhereTheReaderStands(t *testing.T) {
	b := bulky(t, 1000, 1000, 1000)
	f := fileOf(t, b).(*os.File)
	r := NewReader(f)
	next := func() *Record {
		t.Helper()
		rec, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		return rec
	}
	next() // HEADER
	if r.Offset() != preambleBytes || r.Totals().Records != 1 {
		t.Errorf("HEADER at %d, %+v", r.Offset(), r.Totals())
	}
	next()
	if _, err := io.ReadFull(r.Data(), make([]byte, 300)); err != nil || r.Left() != 700 {
		t.Errorf("%d left, %v", r.Left(), err)
	}
	rec := next() // the rest of the first is passed over
	start := r.Offset()
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil || at != start+headerBytes+int64(len(rec.Meta)) {
		t.Errorf("the file is at %d, the record at %d, %v", at, start, err)
	}
	if _, err := io.ReadFull(r.File(), make([]byte, 400)); err != nil || r.Skip(400) != nil || r.Left() != 600 {
		t.Errorf("%d left, %v", r.Left(), err)
	}
	for _, n := range []int64{-1, 601} {
		if r.Skip(n) == nil || r.Left() != 600 {
			t.Errorf("skipped %d of 600", n)
		}
	}
	if next(); r.Offset() != start+headerBytes+int64(len(rec.Meta))+1000 {
		t.Errorf("the third is at %d", r.Offset())
	}
	next() // END
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
	if got := r.Totals(); got.Records != 4 || got.DataBytes != 3000 {
		t.Errorf("%+v", got)
	}
}

// TestAheadDoesNotWait: a record is there when its bytes are, whatever of the next is.
func TestAheadDoesNotWait(t *testing.T) {
	b := bulky(t, 10)
	whole := NewReader(bytes.NewReader(b))
	rec, err := whole.Next()
	if err != nil {
		t.Fatal(err)
	}
	end := preambleBytes + headerBytes + len(rec.Meta)
	for _, more := range []int{0, 1, headerBytes - 1, headerBytes, headerBytes + 1} {
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r := NewReader(in)
		if _, err := out.Write(b[:end+more]); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Next(); err != nil || got.Type != record.TypeHeader {
			t.Fatalf("%d bytes behind HEADER: %v, %v", more, got, err)
		}
		if _, err := out.Write(b[end+more:]); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Next(); err != nil || got.DataLen != 10 || r.Offset() != int64(end) {
			t.Errorf("%d bytes behind HEADER: then %v at %d, not %d, %v", more, got, r.Offset(), end, err)
		}
		_, _ = in.Close(), out.Close()
	}
}

// TestReaderAfter reads a stream of which another reader has read the beginning: each has
// taken from the file what is its own.
func TestReaderAfter(t *testing.T) {
	b, err := os.ReadFile("testdata/frozen/0.1/every.stream")
	if err != nil {
		t.Fatal(err)
	}
	want, err := readAll(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for n := range want {
		f, err := os.Open("testdata/frozen/0.1/every.stream")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var head bytes.Buffer
		before := NewReader(io.TeeReader(f, &head))
		for range n {
			if _, err := before.Next(); err != nil {
				t.Fatal(err)
			}
		}
		r := NewReaderAfter(&head, f)
		if r.File() != f {
			t.Fatal("it has no file")
		}
		got := 0
		for range r.Records(context.Background()) {
			got++
		}
		if got != want || r.Totals().DataBytes == 0 {
			t.Errorf("after %d records: %d records with %d bytes of data, want %d", n, got, r.Totals().DataBytes, want)
		}
	}
}

func TestNotAFile(t *testing.T) {
	if f := NewReader(strings.NewReader("")).File(); f != nil {
		t.Error(f)
	}
}

// TestErrorsSayWhere: number, type and offset, and the same again.
func TestErrorsSayWhere(t *testing.T) {
	b := bulky(t, 100)
	h := bytes.Index(b, []byte{byte(record.TypeContent), 0, byte(record.Critical | record.Bulk), 0})
	metaLen := int(b[h+4])
	for what, c := range map[string]struct {
		in   []byte
		want RecordError
	}{
		"header":   {b[:h+5], RecordError{Index: 1, Offset: int64(h)}},
		"meta":     {b[:h+headerBytes+1], RecordError{Index: 1, Offset: int64(h)}},
		"data":     {b[:h+headerBytes+metaLen+50], RecordError{Index: 1, Type: record.TypeContent, Offset: int64(h)}},
		"trailing": {append(bytes.Clone(b), 1), RecordError{Index: 2, Offset: int64(len(b))}},
	} {
		r := NewReader(bytes.NewReader(c.in))
		var err error
		for err == nil {
			_, err = r.Next()
		}
		var re *RecordError
		if !errors.As(err, &re) || re.Index != c.want.Index || re.Type != c.want.Type || re.Offset != c.want.Offset {
			t.Errorf("%s: %#v", what, err)
		}
		if _, again := r.Next(); again != err {
			t.Errorf("%s: then %v", what, again)
		}
		if _, again := r.Data().Read(make([]byte, 1)); again != err {
			t.Errorf("%s: its data: %v", what, again)
		}
	}
}

// TestReadFails: a failing device is not a stream that ends early.
func TestReadFails(t *testing.T) {
	b := sample(t)
	broken := errors.New("input/output error")
	for i := range b {
		in := io.MultiReader(bytes.NewReader(b[:i]), iotest.ErrReader(broken))
		if _, err := readAll(in); !errors.Is(err, broken) || errors.Is(err, ErrTruncated) {
			t.Fatalf("at byte %d: %v", i, err)
		}
	}
	if _, err := readAll(iotest.DataErrReader(bytes.NewReader(b))); err != nil {
		t.Errorf("EOF together with the last bytes: %v", err)
	}
	if _, err := readAll(iotest.HalfReader(bytes.NewReader(b))); err != nil {
		t.Errorf("half reads: %v", err)
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestPromisesCostNothing: what a length in the stream or in CBOR promises is
// not allocated before it is there, but for one record's meta.
func TestPromisesCostNothing(t *testing.T) {
	for what, h := range map[string]header{
		"meta at the limit": {typ: record.TypeHeader, metaLen: MaxMetaBytes},
		"meta above it":     {typ: record.TypeHeader, metaLen: 1<<32 - 1},
		"data at the limit": {typ: record.TypeHeader, dataLen: MaxDataBytes},
		"data above it":     {typ: record.TypeHeader, dataLen: 1<<64 - 1},
	} {
		b := h.append(appendPreamble(nil, current), nil)
		if n := allocated(func() {
			if _, err := readAll(bytes.NewReader(b)); err == nil {
				t.Errorf("%s: accepted", what)
			}
		}); n > MaxMetaBytes+256<<10 {
			t.Errorf("%s: %d bytes allocated", what, n)
		}
	}
	for _, meta := range []string{
		"\xa1\x66limits\x9b\x00\x00\x00\x00\x00\x0f\xff\xff", "\xa1\x66limits\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
		"\xbb\x00\x00\x00\x00\x00\x00\x0f\xff", "\xa1\x61a\x5b\x7f\xff\xff\xff\xff\xff\xff\xff", "\xa1\x61a" + strings.Repeat("\x81", 1<<10),
	} {
		rec := &Record{Type: record.TypeLimits, Meta: []byte(meta)}
		if n := allocated(func() {
			if rec.Decode(new(record.Limits)) == nil || rec.Set(map[string]any{"x": 1}) == nil {
				t.Errorf("%.20x: accepted", meta)
			}
		}); n > 64<<10 {
			t.Errorf("%.20x: %d bytes allocated", meta, n)
		}
	}
}

// TestSkippedDataIsNotHeld: a list of what a stream holds needs little memory,
// however much data there is.
func TestSkippedDataIsNotHeld(t *testing.T) {
	var front bytes.Buffer
	w := NewWriter(&front)
	const n = 64 << 20
	rec, err := New(record.TypeContent, &record.Content{})
	if err != nil {
		t.Fatal(err)
	}
	rec.DataLen = n
	if err := errors.Join(w.Add(record.TypeHeader, &record.Header{}), w.head(rec), w.Flush()); err != nil {
		t.Fatal(err)
	}
	r := NewReader(io.MultiReader(&front, io.LimitReader(zeros{}, n)))
	if got := allocated(func() {
		for range 2 {
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.Next(); !errors.Is(err, ErrTruncated) { // all data passed over, no END
			t.Error(err)
		}
	}); got > 1<<20 {
		t.Errorf("%d bytes allocated", got)
	}
}

package stream

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"ckpt/stream/record"
)

// TestWriterRefuses: what would make a stream no reader takes is not written,
// errors stick, and the stream can still be aborted behind what was written.
func TestWriterRefuses(t *testing.T) {
	big := &Record{Type: record.FirstCustom, Meta: make([]byte, MaxMetaBytes+1)}
	empty := []byte{0xa0}
	for what, c := range map[string]struct {
		rec  *Record
		data io.Reader
		want string
	}{
		"meta too long":    {big, nil, "at most 1048576 are allowed"},
		"data too long":    {&Record{Type: record.FirstCustom, Meta: empty, DataLen: MaxDataBytes + 1}, zeros{}, "at most 1073741824 are allowed"},
		"negative data":    {&Record{Type: record.FirstCustom, Meta: empty, DataLen: -1}, zeros{}, "at most 1073741824 are allowed"},
		"undefined flag":   {&Record{Type: record.FirstCustom, Flags: 1 << 9, Meta: empty}, nil, "not defined"},
		"no data":          {&Record{Type: record.FirstCustom, Meta: empty, DataLen: 5}, nil, "has none"},
		"too little data":  {&Record{Type: record.FirstCustom, Meta: empty, DataLen: 5}, strings.NewReader("abc"), "ended after 3"},
		"too little, much": {&Record{Type: record.FirstCustom, Meta: empty, DataLen: spliceMinBytes}, strings.NewReader("abc"), "ended after 3"},
	} {
		var b bytes.Buffer
		w := NewWriter(&b)
		if err := w.Add(record.TypeHeader, &record.Header{}); err != nil {
			t.Fatal(err)
		}
		err := w.Write(c.rec, c.data)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
		if w.End(record.End{}) != err || w.Flush() != err {
			t.Errorf("%s: the error does not stick", what)
		}
		w.Abort("tool", err)
		var abort *AbortError
		if _, err := readAll(&b); !errors.As(err, &abort) || !strings.Contains(abort.Reason, c.want) {
			t.Errorf("%s: behind it: %v", what, err)
		}
	}
}

func TestNothingBehindTheEnd(t *testing.T) {
	for _, end := range []func(w *Writer){
		func(w *Writer) { _ = w.End(record.End{}) },
		func(w *Writer) { w.Abort("tool", errors.New("why")) },
	} {
		var b bytes.Buffer
		w := NewWriter(&b)
		if err := w.Add(record.TypeHeader, &record.Header{}); err != nil {
			t.Fatal(err)
		}
		end(w)
		n := b.Len()
		if w.Add(record.TypeTask, &record.Task{}) == nil || w.End(record.End{}) == nil {
			t.Error("a record was taken behind the end")
		}
		w.Abort("tool", errors.New("too late"))
		if _ = w.Flush(); b.Len() != n {
			t.Errorf("%d bytes behind the end", b.Len()-n)
		}
	}
}

// TestEndIsCounted: totals are the Writer's own, other fields stay.
func TestEndIsCounted(t *testing.T) {
	meta, err := keyMode.Marshal(map[string]any{"records": 99, "frozen_us": 5, "later": []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := NewWriter(&b)
	end := &Record{Type: record.TypeEnd, Flags: record.Critical, Meta: bytes.Clone(meta)}
	if err := errors.Join(w.Add(record.TypeHeader, &record.Header{}), w.Add(record.TypeTask, &record.Task{}), w.Write(end, nil)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(end.Meta, meta) {
		t.Error("the caller's record was changed")
	}
	r := NewReader(&b)
	for {
		rec, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if rec.Type != record.TypeEnd {
			continue
		}
		var got struct {
			record.End
			Later []byte `cbor:"later"`
		}
		if err := rec.Decode(&got); err != nil || got.Records != 2 || got.FrozenUS != 5 || string(got.Later) != "x" {
			t.Errorf("%+v, %v", got, err)
		}
		return
	}
}

// TestAbortReasonIsBounded: nobody's error message makes a record too long.
func TestAbortReasonIsBounded(t *testing.T) {
	var b bytes.Buffer
	NewWriter(&b).Abort("tool", errors.New(strings.Repeat("x", 2<<20)))
	var abort *AbortError
	if _, err := readAll(&b); !errors.As(err, &abort) || len(abort.Reason) != 4096 {
		t.Errorf("%T", err)
	}
}

// TestSetAtTheLimits: Set leaves alone what it can't change.
func TestSetAtTheLimits(t *testing.T) {
	for what, meta := range map[string]string{
		"nothing": "", "null": "\xf6", "an array": "\x80", "a key of bytes": "\xa1\x41a\x00",
		"a key twice": "\xa2\x61a\x00\x61a\x00", "a tag": "\xa1\x61a\xc0\x00", "indefinite": "\xbf\xff", "more behind": "\xa0\x00",
	} {
		rec := &Record{Meta: []byte(meta)}
		if err := rec.Set(map[string]any{"x": 1}); !errors.Is(err, ErrCorrupt) || string(rec.Meta) != meta {
			t.Errorf("%s: %v, %x", what, err, rec.Meta)
		}
	}
	rec := &Record{Meta: []byte{0xa0}}
	if rec.Set(map[string]any{"x": make(chan int)}) == nil || len(rec.Meta) != 1 {
		t.Errorf("a channel became %x", rec.Meta)
	}
	if rec.Set(map[string]any{"x": cbor.Tag{Number: 1, Content: 1}}) == nil || len(rec.Meta) != 1 {
		t.Errorf("a tag became %x", rec.Meta)
	}
}

// TestFilterOwnRecords: a filter can add records and put others in their place.
func TestFilterOwnRecords(t *testing.T) {
	var out bytes.Buffer
	err := Filter("test", bytes.NewReader(sample(t)), &out, func(w *Writer, rec *Record, data io.Reader) error {
		if rec.Type == record.TypeFD {
			if err := w.Write(&Record{Type: record.FirstCustom, Meta: []byte{0xa0}}, nil); err != nil {
				return err
			}
		}
		if rec.Type == record.TypePages {
			rec.DataLen = 10
			data = strings.NewReader("0123456789")
		}
		return w.Write(rec, data)
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := readAll(&out); err != nil || n != 8 {
		t.Errorf("%d records, %v", n, err)
	}
}

// TestFilterGivesUp: the edit function's error comes back with the record's place,
// and goes out.
func TestFilterGivesUp(t *testing.T) {
	why := errors.New("the path is wrong")
	var out bytes.Buffer
	err := Filter("mine", bytes.NewReader(sample(t)), &out, func(w *Writer, rec *Record, data io.Reader) error {
		if rec.Type == record.TypeFD {
			return why
		}
		return w.Write(rec, data)
	})
	var at *RecordError
	if !errors.As(err, &at) || at.Index != 3 || at.Type != record.TypeFD || at.Offset == 0 || at.Err != why {
		t.Errorf("%#v", err)
	}
	var abort *AbortError
	if n, rerr := readAll(&out); n != 3 || !errors.As(rerr, &abort) || abort.Tool != "mine" || abort.Reason != err.Error() {
		t.Errorf("%v, behind it %v", err, rerr)
	}
}

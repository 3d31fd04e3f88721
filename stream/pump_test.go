package stream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"ckpt/stream/record"
)

// TestVersionStays: a filter passes a stream of a later minor version on as one
// of that version, with records it does not know.
func TestVersionStays(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	if err := w.SetVersion(Version{VersionMajor, 77}); err != nil {
		t.Fatal(err)
	}
	unknown := &Record{Type: record.FirstCustom - 1, Flags: record.Critical | record.Bulk, Meta: []byte{0xa0}}
	if err := errors.Join(w.Add(record.TypeHeader, &record.Header{}), w.Write(unknown, nil), w.End(record.End{})); err != nil {
		t.Fatal(err)
	}
	if w.SetVersion(current) == nil {
		t.Error("the version was changed behind the first record")
	}
	in := bytes.Clone(b.Bytes())
	var out bytes.Buffer
	if err := Filter("test", &b, &out, pass); err != nil || !bytes.Equal(out.Bytes(), in) {
		t.Errorf("%x became\n%x, %v", in, out.Bytes(), err)
	}
	if err := NewWriter(&b).SetVersion(Version{VersionMajor + 1, 0}); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
}

// TestPumpHooks: HEADER can be changed, and where the stream goes be decided by
// it; End is called when the input is known to be whole, before END.
func TestPumpHooks(t *testing.T) {
	var out bytes.Buffer
	ended := -1
	p := Pump{Reader: NewReader(bytes.NewReader(sample(t)))}
	p.Header = func(rec *Record) error {
		p.Writer = NewWriter(&out)
		return rec.Set(map[string]any{"host": []byte("elsewhere")})
	}
	p.End = func() error { ended = out.Len(); return nil }
	if err := p.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	whole := out.Len()
	if n, err := readAll(bytes.NewReader(out.Bytes())); err != nil || n != 7 || ended < 0 || ended >= whole {
		t.Errorf("%d records, %v; End was called at byte %d of %d", n, err, ended, whole)
	}
	var h record.Header
	first, err := NewReader(&out).Next()
	if err := errors.Join(err, first.Decode(&h)); err != nil || h.Host != "elsewhere" || h.Checkpoint != "c0ffee" {
		t.Errorf("%+v, %v", h, err)
	}
}

// TestPumpStops: whatever stops it, no END is written, and the error is the one
// that the hook gave, or ctx.
func TestPumpStops(t *testing.T) {
	b := sample(t)
	why := errors.New("no")
	stopped, stop := context.WithCancelCause(context.Background())
	for what, c := range map[string]struct {
		in   []byte
		set  func(p *Pump)
		ctx  context.Context
		want error
	}{
		"HEADER":   {b, func(p *Pump) { p.Header = func(*Record) error { return why } }, context.Background(), why},
		"END":      {b, func(p *Pump) { p.End = func() error { return why } }, context.Background(), why},
		"trailing": {append(bytes.Clone(b), 0), func(p *Pump) { p.End = func() error { t.Error("End was called"); return nil } }, context.Background(), ErrTrailing},
		"ctx": {b, func(p *Pump) {
			p.Edit = func(_ *Writer, rec *Record, _ io.Reader) error { stop(why); return errors.New("a consequence") }
		}, stopped, why},
	} {
		var out bytes.Buffer
		p := Pump{Reader: NewReader(bytes.NewReader(c.in)), Writer: NewWriter(&out)}
		c.set(&p)
		if err := p.Run(c.ctx); !errors.Is(err, c.want) || c.want == why && err != why {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := readAll(&out); !errors.Is(err, ErrTruncated) {
			t.Errorf("behind %s: %v", what, err)
		}
	}
}

// TestOutputErrors: what is wrong with the output is not said to be of a record.
func TestOutputErrors(t *testing.T) {
	full := errors.New("no space")
	for _, edit := range []func(*Writer, *Record, io.Reader) error{nil, pass} {
		p := Pump{Reader: NewReader(bytes.NewReader(bulky(t, 200<<10))), Writer: NewWriter(failing{full}), Edit: edit}
		if err := p.Run(context.Background()); err != full {
			t.Errorf("%v", err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestRecords: a loop that was left goes on where it was, and END is the last.
func TestRecords(t *testing.T) {
	r := NewReader(bytes.NewReader(sample(t)))
	var seen []record.Type
	for range 2 {
		for rec, err := range r.Records(context.Background()) {
			if err != nil {
				t.Fatal(err)
			}
			if seen = append(seen, rec.Type); rec.Type == record.TypeFile {
				break
			}
		}
	}
	if len(seen) != 7 || seen[0] != record.TypeHeader || seen[3] != record.TypeFD || seen[6] != record.TypeEnd {
		t.Errorf("%v", seen)
	}
	var at *RecordError
	if err := r.At(io.ErrNoProgress); !errors.As(err, &at) || at.Index != 6 || at.Type != record.TypeEnd {
		t.Errorf("behind END: %v", err)
	}
}

package jsonl

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"ckpt/stream"
	"ckpt/stream/record"
)

// FuzzDecode: whatever is in a stream, decode refuses it or writes lines of which
// encode makes the same stream again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(write(f)))
	f.Add([]byte(write(f, add(f, record.TypeDir, &record.Dir{}, ""), add(f, record.TypeContent, &record.Content{}, "some data"))))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, withData := range []bool{false, true} {
			var lines bytes.Buffer
			err := Decode(context.Background(), bytes.NewReader(in), &lines, withData)
			text := lines.String()
			if err == nil && !strings.HasSuffix(text, "\n") {
				t.Fatalf("a line without an end: %q", text)
			}
			if err != nil || !withData {
				continue
			}
			var out bytes.Buffer
			if err := Encode(context.Background(), strings.NewReader(text), &out); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			a, b := bodies(t, in), bodies(t, out.Bytes())
			if !bytes.Equal(a, b) {
				t.Fatalf("%x became %x", a, b)
			}
		}
	})
}

// bodies are the records of a stream one after the other, but for END, which the
// writer makes.
func bodies(t *testing.T, b []byte) (all []byte) {
	r := stream.NewReader(bytes.NewReader(b))
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r.Data())
		if err != nil {
			t.Fatal(err)
		}
		if rec.Type != record.TypeEnd {
			all = append(append(append(all, byte(rec.Type), byte(rec.Type>>8), byte(rec.Flags)), rec.Meta...), data...)
		}
	}
}

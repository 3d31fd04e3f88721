package stream

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"ckpt/stream/record"
)

// BenchmarkDescriptions passes a stream of small records on, in memory.
func BenchmarkDescriptions(b *testing.B) {
	var in bytes.Buffer
	w := NewWriter(&in)
	err := w.Add(record.TypeHeader, &record.Header{})
	for i := range 10_000 {
		err = errors.Join(err, w.Add(record.TypeVMA, &record.VMA{Start: uint64(i) << 12, Kind: record.VMAAnon, VmFlags: "rd wr mr mw me ac"}))
	}
	if err := errors.Join(err, w.End(record.End{})); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := Filter("bench", bytes.NewReader(in.Bytes()), io.Discard, pass); err != nil {
			b.Fatal(err)
		}
	}
}

package judge

import (
	"bytes"
	"errors"
	"testing"

	"ckpt/internal/testkit"
	"ckpt/stream"
	"ckpt/stream/record"
)

// manyRecords is a stream with so many eventfds, and FILEs of them. Number wrong, if it
// is one, refers to nothing.
func manyRecords(t *testing.T, pairs, wrong int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := stream.NewWriter(&b)
	testkit.Check(t, w.Add(record.TypeHeader, &record.Header{Stage: record.StageShared}))
	for i := range pairs {
		objref := uint64(2*i + 1)
		refs := record.InodeRef{Inode: objref}
		if i == wrong {
			refs.Inode += 1000
		}
		testkit.Check(t, w.Add(record.TypeEventFD, &record.EventFD{Object: record.Object{Objref: objref}, Count: objref}))
		testkit.Check(t, w.Add(record.TypeFile, &record.File{Object: record.Object{Objref: objref + 1}, Pos: int64(i), Refs: refs}))
	}
	testkit.Check(t, w.End(record.End{}))
	testkit.Check(t, w.Flush())
	return b.Bytes()
}

// TestManyRecords: records that are read and decoded on several CPUs arrive in order, all
// of them, and nothing behind them is read.
func TestManyRecords(t *testing.T) {
	const pairs = 2 * fewRecords
	b := manyRecords(t, pairs, -1)
	in := bytes.NewReader(b)
	m, last, err := Read(stream.NewReader(in), nil)
	if err != nil || last.Type != record.TypeEnd || in.Len() > 0 || len(m.Objects) != 2*pairs {
		t.Fatalf("%v, %v, %d bytes left, %d objects", err, last, in.Len(), len(m.Objects))
	}
	for i := range pairs {
		f := testkit.Must(stream.Decoded[record.File](m.Objects[2*i+1]))(t)
		if f.Pos != int64(i) || f.Objref != uint64(2*i+2) {
			t.Fatalf("number %d is %+v", i, f)
		}
	}
}

// TestWrongAmongMany: an error says where it is, and a stream that ends too early, what
// was right before it notwithstanding.
func TestWrongAmongMany(t *testing.T) {
	const pairs, wrong = 2 * fewRecords, fewRecords + 100
	b := manyRecords(t, pairs, wrong)
	plain := stream.NewReader(bytes.NewReader(b))
	for range 1 + 2*wrong + 2 {
		_ = testkit.Must(plain.Next())(t)
	}
	_, _, err := Read(stream.NewReader(bytes.NewReader(b)), nil)
	var re *stream.RecordError
	if !errors.As(err, &re) || re.Index != plain.Totals().Records-1 || re.Offset != plain.Offset() || re.Type != record.TypeFile {
		t.Errorf("%v; the record is number %d at %d", err, plain.Totals().Records-1, plain.Offset())
	}
	whole := manyRecords(t, pairs, -1)
	for _, n := range []int{len(whole) - 1, len(whole) * 3 / 4} {
		if _, _, err := Read(stream.NewReader(bytes.NewReader(whole[:n])), nil); !errors.Is(err, stream.ErrTruncated) {
			t.Errorf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
}

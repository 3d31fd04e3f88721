package stream

import (
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkBulk passes bulk data on from pipe to pipe, which are as large as ckpt's
// own filters make theirs.
func BenchmarkBulk(b *testing.B) {
	lengths := make([]int, 64)
	for i := range lengths {
		lengths[i] = DataChunkBytes
	}
	in := bulky(b, lengths...)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		throughPipes(b, in)
	}
}

// throughPipes has a filter between two pipes.
func throughPipes(b *testing.B, in []byte) {
	b.Helper()
	r1, w1 := largePipe(b)
	r2, w2 := largePipe(b)
	errs := make(chan error, 3)
	go func() { _, err := w1.Write(in); errs <- errors.Join(err, w1.Close()) }()
	go func() { errs <- errors.Join(Filter("bench", r1, w2, pass), w2.Close()) }()
	go func() { _, err := io.Copy(io.Discard, r2); errs <- errors.Join(err, r2.Close()) }()
	if err := errors.Join(<-errs, <-errs, <-errs, r1.Close()); err != nil {
		b.Fatal(err)
	}
}

func largePipe(b *testing.B) (r, w *os.File) {
	b.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, DataChunkBytes); err != nil {
		b.Fatal(err)
	}
	return r, w
}

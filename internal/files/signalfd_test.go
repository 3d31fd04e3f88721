package files

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

// TestSignalFD: a signalfd is made with the mask of its record and the flags of its
// description, and a mask that none can have is refused.
func TestSignalFD(t *testing.T) {
	for mask, good := range map[uint64]bool{
		0: true, 1<<63 | 1<<9: true, 0xfffffffe7ffbfeff &^ neverTaken: true,
		1 << (unix.SIGKILL - 1): false, 1 << (unix.SIGSTOP - 1): false, 1<<64 - 1: false,
	} {
		rec, err := stream.New(record.TypeSignalFD, &record.SignalFD{Object: record.Object{Objref: 1}, Mask: mask})
		if err != nil {
			t.Fatal(err)
		}
		if errs := checkSignalFD(rec); (len(errs) == 0) != good || !good && !errors.Is(errs[0], stream.ErrCorrupt) {
			t.Errorf("%#x: %v", mask, errs)
		}
		if good {
			madeSignalFD(t, rec, mask)
		}
	}
}

func madeSignalFD(t *testing.T, rec *stream.Record, want uint64) {
	t.Helper()
	r := fuzzed(t, true)
	obj, err := r.makeSignalFD(rec)
	if err != nil {
		t.Fatal(err)
	}
	f, err := obj.Open(unix.O_RDWR | unix.O_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := proc.ReadFDInfo(os.Getpid(), int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if mask, err := info.SignalMask(); err != nil || mask != want {
		t.Errorf("mask %#x %v, want %#x", mask, err, want)
	}
	if err := obj.Close(); err != nil {
		t.Error(err)
	}
}

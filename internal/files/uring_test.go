package files

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/internal/testkit"
	"ckpt/stream"
	"ckpt/stream/record"
)

func uringRecord(t *testing.T, rec *record.IOUring) *stream.Record {
	t.Helper()
	return testkit.Must(stream.New(record.TypeIOUring, rec))(t)
}

// TestCheckUring: sizes that no io_uring has, and more requests than can be counted.
func TestCheckUring(t *testing.T) {
	for _, c := range []struct {
		rec     record.IOUring
		good    bool
		corrupt bool
	}{
		{record.IOUring{SQEntries: 1, CQEntries: 1}, true, false},
		{record.IOUring{SQEntries: 1 << 15, CQEntries: 1 << 16, Count: 1 << 28}, true, false},
		{record.IOUring{SQEntries: 0, CQEntries: 1}, false, true},
		{record.IOUring{SQEntries: 3, CQEntries: 4}, false, true},
		{record.IOUring{SQEntries: 8, CQEntries: 4}, false, true},
		{record.IOUring{SQEntries: 1 << 16, CQEntries: 1 << 16}, false, true},
		{record.IOUring{SQEntries: 1 << 10, CQEntries: 1 << 17}, false, true},
		{record.IOUring{SQEntries: 1 << 10, CQEntries: 1 << 11, Count: 1<<28 + 1}, false, true},
		{record.IOUring{SQEntries: 1, CQEntries: 1, Count: 1<<23 + 1}, false, true},
	} {
		c.rec.Objref = 1
		errs := (&uringMaker{Restorer: fuzzed(t, true)}).check(uringRecord(t, &c.rec))
		if (len(errs) == 0) != c.good || c.corrupt && !errors.Is(errs[0], stream.ErrCorrupt) {
			t.Errorf("%+v: %v", c.rec, errs)
		}
	}
	m := &uringMaker{Restorer: fuzzed(t, true)}
	for i, good := range []bool{true, true, false} {
		errs := m.check(uringRecord(t, &record.IOUring{Object: record.Object{Objref: uint64(i + 1)}, SQEntries: 64, CQEntries: 64, Count: 1 << 27}))
		if (len(errs) == 0) != good {
			t.Errorf("ring %d: %v", i, errs)
		}
	}
}

// TestAdvance: after the requests that a restore makes, the kernel counts as it did.
func TestAdvance(t *testing.T) {
	for _, count := range []uint32{0, 1, 7, 8, 9, 1000} {
		fd, p, err := newUring(8, 16, false)
		testkit.Check(t, err)
		testkit.Check(t, advance(fd, p, count))
		info := testkit.Must(proc.ReadFDInfo(unix.Getpid(), fd))(t)
		u := testkit.Must(info.Uring())(t)
		if u.Taken != count || u.Done != count || u.SQHead != count || u.SQTail != count {
			t.Errorf("%d: %+v", count, u)
		}
		if why := uringObstacle(fd, &u); why != nil {
			t.Errorf("%d: %v", count, why)
		}
		m := testkit.Must(readUring(fd, sys.UringOffRings, sizesOf(p).rings))(t)
		if head := binary.NativeEndian.Uint32(m[p.CQ.Head:]); head != count {
			t.Errorf("%d: %d completions were taken", count, head)
		}
		testkit.Check(t, unix.Close(fd))
	}
}

// TestReadUring: behind the end of a ring's memory there is nothing.
func TestReadUring(t *testing.T) {
	fd, p, err := newUring(64, 128, false)
	testkit.Check(t, err)
	defer unix.Close(fd)
	for offset, n := range sizesOf(p).all() {
		n = (n + 4095) &^ 4095
		got, err := readUring(fd, offset, n+8192)
		if err != nil || len(got) > n {
			t.Errorf("%d bytes of %d at %#x: %v", len(got), n, offset, err)
		}
	}
}

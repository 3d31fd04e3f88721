package memory

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/object"
	"ckpt/internal/testkit"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// TestForeignSegment: a segment of another user is not taken for the program's, even
// if it has the same id, key and size.
func TestForeignSegment(t *testing.T) {
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, 4096, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) }()
	var d unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &d); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		uid, gid uint32
		good     bool
	}{{d.Perm.Uid, d.Perm.Gid, true}, {d.Perm.Uid + 1, d.Perm.Gid, false}, {d.Perm.Uid, d.Perm.Gid + 1, false}} {
		rec, err := stream.New(record.TypeSysVShm, &record.SysVShm{ShmID: id, Key: d.Perm.Key, Size: 4096, UID: c.uid, GID: c.gid})
		if err != nil {
			t.Fatal(err)
		}
		errs := checkSysVShm(&object.Restart{}, map[int]bool{}, rec)
		if c.good != (len(errs) == 0) || !c.good && !strings.Contains(errs[0].Error(), "in use by another segment") {
			t.Errorf("user %d, group %d: %v", c.uid, c.gid, errs)
		}
	}
}

// newSegment returns the record of a segment with an unused id.
func newSegment(t *testing.T, mode uint32) *stream.Record {
	t.Helper()
	for id := 1<<20 + 77; ; id++ { // find an unused one
		var d unix.SysvShmDesc
		if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &d); err == nil {
			continue
		}
		rec, err := stream.New(record.TypeSysVShm, &record.SysVShm{ShmID: id, Key: 0, Size: 5000, Mode: mode, UID: 12, GID: 34})
		if err != nil {
			t.Fatal(err)
		}
		return rec
	}
}

// TestSegment: a segment is made with its id and owner, is found again, and is removed
// when it should be.
func TestSegment(t *testing.T) {
	box, err := depot.New(func(int) bool { return false }, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	for _, mode := range []uint32{0o640, 0o640 | shmDest} {
		rec := newSegment(t, mode)
		s, err := decodeSysVShm(rec)
		if err != nil {
			t.Fatal(err)
		}
		note := ""
		makes := kindOfObject(&object.Restart{Depot: box, Note: func(format string, _ ...any) { note = format }}, record.TypeSysVShm).Make
		o, err := makes(rec)
		if err != nil {
			t.Fatal(err)
		}
		g := o.(*segment)
		defer func() { _, _ = unix.SysvShmCtl(s.ShmID, unix.IPC_RMID, nil) }()
		var d unix.SysvShmDesc
		if _, err := unix.SysvShmCtl(s.ShmID, unix.IPC_STAT, &d); err != nil || d.Perm.Uid != 12 || d.Perm.Gid != 34 || d.Perm.Mode&0o777 != 0o640 || d.Segsz != 5000 {
			t.Errorf("%+v, %v", d, err)
		}
		if err := fill(o, 100, []byte("some")); err != nil {
			t.Error(err)
		}
		again, err := makes(rec)
		if err != nil {
			t.Fatal(err)
		}
		if err := fill(again, 100, []byte("text")); err != nil || note != "" {
			t.Errorf("%v, note %q", err, note) // nobody uses it, so its contents are restored
		}
		rf, err := again.Open(os.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4)
		if _, err := rf.ReadAt(b, 100); err != nil || string(b) != "text" {
			t.Errorf("%q, %v", b, err)
		}
		rf.Close()
		if err := errors.Join(again.Close(), o.Close(), g.Seal(), again.(*segment).Undo()); err != nil {
			t.Error(err)
		}
		_, err = unix.SysvShmCtl(s.ShmID, unix.IPC_STAT, &d)
		if there := err == nil; there != (mode&shmDest == 0) {
			t.Errorf("mode %o: it exists: %v", mode, there)
		}
		if err := errors.Join(g.Undo(), g.Undo()); err != nil {
			t.Error(err)
		}
		if _, err := unix.SysvShmCtl(s.ShmID, unix.IPC_STAT, &d); err == nil {
			t.Error("it is still there")
		}
	}
	for _, s := range []record.SysVShm{{ShmID: -1, Size: 1}, {ShmID: 1 << 31, Size: 1}, {Size: 0}, {Size: 1 << 50}} {
		rec, err := stream.New(record.TypeSysVShm, &s)
		if err != nil {
			t.Fatal(err)
		}
		if len(checkSysVShm(&object.Restart{}, map[int]bool{}, rec)) == 0 {
			t.Errorf("%+v is good", s)
		}
	}
}

// TestSysVShmMapped: a segment that a task has attached is described, and attached
// again in another task, where a part is unmapped.
func TestSysVShmMapped(t *testing.T) {
	p := newPuppet(t)
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, 3*pageBytes, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) }()
	at := testkit.Must(p.Call(unix.SYS_SHMAT, uint64(id), 0, 0))(t)
	put(t, p, at, []byte("in the segment"))
	testkit.Check(t, tracee.CallOK(p, "unmap", unix.SYS_MUNMAP, at+2*pageBytes, pageBytes))
	d := describe(t, p)
	i := slices.IndexFunc(d.vmas, func(v record.VMA) bool { return v.Kind == record.VMASysVShm })
	if i < 0 || len(d.objects) != 1 || len(d.blocked) > 0 {
		t.Fatalf("%d, %v, %v", i, d.objects, d.blocked)
	}
	q := newPuppet(t, Occupied(d.vmas)...)
	r := &Restorer{PID: q.Tracee().PID, Puppet: q, Open: files(t, d), Note: t.Logf}
	testkit.Check(t, r.Map(d.vmas))
	if b := get(t, r.PID, at); !bytes.HasPrefix(b, []byte("in the segment")) {
		t.Errorf("%q", head(b))
	}
	if get(t, r.PID, at+pageBytes) == nil || get(t, r.PID, at+2*pageBytes) != nil {
		t.Error("not the pages that were attached")
	}
	// A part that is not the beginning is moved to its place.
	put(t, p, at+pageBytes, []byte("the second page"))
	testkit.Check(t, tracee.CallOK(p, "unmap", unix.SYS_MUNMAP, at, pageBytes))
	d = describe(t, p)
	q = newPuppet(t, Occupied(d.vmas)...)
	r = &Restorer{PID: q.Tracee().PID, Puppet: q, Open: files(t, d), Note: t.Logf}
	testkit.Check(t, r.Map(d.vmas))
	if b := get(t, r.PID, at+pageBytes); !bytes.HasPrefix(b, []byte("the second page")) || get(t, r.PID, at) != nil || get(t, r.PID, at+2*pageBytes) != nil {
		t.Errorf("%q", head(b))
	}
	if i = slices.IndexFunc(d.vmas, func(v record.VMA) bool { return v.Kind == record.VMASysVShm }); i < 0 {
		t.Fatal("not described")
	}
	d.vmas[i].Offset = 3 * pageBytes // behind its end
	q = newPuppet(t, Occupied(d.vmas)...)
	r = &Restorer{PID: q.Tracee().PID, Puppet: q, Open: files(t, d), Note: t.Logf}
	testkit.Says(t, r.Map(d.vmas), "it has 12288 bytes only")
}

// TestCheckShmem: impossible sizes are refused.
func TestCheckShmem(t *testing.T) {
	for _, c := range []struct {
		s    record.Shmem
		good bool
	}{
		{record.Shmem{Size: 4096}, true}, {record.Shmem{Size: 0}, false}, {record.Shmem{Size: 5}, false}, {record.Shmem{Size: 1 << 48}, false},
		{record.Shmem{Size: 4 << 20, HugePage: 2 << 20}, true}, {record.Shmem{Size: 3 << 20, HugePage: 2 << 20}, false},
		{record.Shmem{Size: 4 << 20, HugePage: 4096}, false}, {record.Shmem{Size: 6 << 20, HugePage: 3 << 20}, false},
	} {
		rec, err := stream.New(record.TypeShmem, &c.s)
		if err != nil {
			t.Fatal(err)
		}
		if errs := checkShmem(rec); c.good != (len(errs) == 0) {
			t.Errorf("%+v: %v", c.s, errs)
		}
	}
}

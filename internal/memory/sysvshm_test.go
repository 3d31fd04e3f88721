package memory

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/stream"
)

// TestForeignSegment: a segment with the id, key and size of the program's that
// is another user's is not taken for it.
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
		rec, err := stream.New(stream.TypeSysVShm, &stream.SysVShm{ShmID: id, Key: d.Perm.Key, Size: 4096, UID: c.uid, GID: c.gid})
		if err != nil {
			t.Fatal(err)
		}
		errs := checkSysVShm(rec)
		if c.good != (len(errs) == 0) || !c.good && !strings.Contains(errs[0].Error(), "in use by another segment") {
			t.Errorf("user %d, group %d: %v", c.uid, c.gid, errs)
		}
	}
}

package memory

import (
	"testing"

	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// TestBorrowedNames: something to which a program gave one of the kernel's own names,
// in a file system of its own, is a file.
func TestBorrowedNames(t *testing.T) {
	own, err := sys.ShmemDev()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path   string
		shared bool
		kind   string
	}{
		{"/dev/zero (deleted)", true, record.VMAShmem},
		{"/dev/zero (deleted)", false, record.VMAShmem},
		{"/SYSV00000000 (deleted)", true, record.VMASysVShm},
		{"/anon_hugepage (deleted)", true, record.VMAShmem},
		{"/anon_hugepage (deleted)", false, record.VMAHuge},
	} {
		m := proc.Mapping{Start: 4096, End: 8192, Path: c.path, Shared: c.shared, Inode: 5, Dev: own}
		if got := kindOf(&m).name; got != c.kind {
			t.Errorf("%s of the kernel is %s, not %s", c.path, got, c.kind)
		}
		m.Dev++
		if got := kindOf(&m).name; got != record.VMAFile {
			t.Errorf("%s of another file system is %s", c.path, got)
		}
	}
}

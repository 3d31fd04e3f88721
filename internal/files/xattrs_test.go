package files

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/testkit"
	"ckpt/stream/record"
)

// TestNoInheritedACL: what was deleted and had no access control list comes back without one,
// also in a folder that gives one to all that is made in it.
func TestNoInheritedACL(t *testing.T) {
	dir := t.TempDir()
	acl := binary.LittleEndian.AppendUint32(nil, 2) // POSIX_ACL_XATTR_VERSION
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 7, 0}, {2, 7, 1234}, {4, 7, 0}, {16, 7, 0}, {32, 7, 0}} { // ACL_USER_OBJ, USER, GROUP_OBJ, MASK, OTHER
		acl = binary.LittleEndian.AppendUint16(acl, e.tag)
		acl = binary.LittleEndian.AppendUint16(acl, e.perm)
		acl = binary.LittleEndian.AppendUint32(acl, e.id)
	}
	testkit.Check(t, unix.Setxattr(dir, defaultList, acl, 0))
	r := fuzzed(t, false)
	for what, kind := range map[string]uint32{"folder": unix.S_IFDIR, "FIFO": unix.S_IFIFO, "file": unix.S_IFREG} {
		st := record.Stat{Path: filepath.Join(dir, "x"), Mode: kind | 0o640}
		var f *os.File
		if kind == unix.S_IFREG {
			f = testkit.Must(testkit.Must(newGhost(r, &record.Reg{Stat: st}))(t).w.Dup())(t)
		} else {
			f = testkit.Must(testkit.Must(r.newNameOff(&st, nil))(t).Open(unix.O_RDONLY | unix.O_NONBLOCK))(t)
		}
		var now unix.Stat_t
		testkit.Check(t, unix.Fstat(int(f.Fd()), &now))
		if attrs, _, err := readExtras(f); err != nil || len(attrs) > 0 || now.Mode != st.Mode {
			t.Errorf("%s: attributes %v, mode %o (%v)", what, attrs, now.Mode, err)
		}
		f.Close()
	}
	if left := namesIn(t, dir); left != "" {
		t.Errorf("%s is left", left)
	}
}

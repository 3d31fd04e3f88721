package files

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/sys"
	"ckpt/internal/testkit"
)

// TestFIFOsPlace: the owner of a folder can't put another FIFO of ours in the place of one
// that is made there and removed, whether by its name or by that of the private folder.
func TestFIFOsPlace(t *testing.T) {
	const user = 65534
	path := t.TempDir()
	folder := testkit.Must(os.Open(path))(t)
	defer folder.Close()
	at := int(folder.Fd())
	testkit.Check(t, errors.Join(unix.Mkfifoat(at, "victim", 0o600), folder.Chown(user, user)))
	asUser := func(do func() error) error { return sys.AsFS(&sys.FSIdentity{UID: user, GID: user}, do) }
	number := inodeOf(t, filepath.Join(path, "victim"))

	in := testkit.Must(newSockFolder(testkit.Must(os.Open(path))(t), nil))(t)
	testkit.Check(t, makeFIFO(in))
	inside := filepath.Join(in.name, fifoName)
	if err := asUser(func() error { return unix.Renameat(at, "victim", at, inside) }); !errors.Is(err, unix.EACCES) {
		t.Errorf("the owner of the folder can put another FIFO in place: %v", err)
	}
	testkit.Check(t, asUser(func() error {
		return errors.Join(unix.Renameat(at, in.name, at, "away"), unix.Mkdirat(at, in.name, 0o700), unix.Renameat(at, "victim", at, inside))
	}))
	f := testkit.Must(takeFIFO(in))(t)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Ino == number || st.Nlink != 0 {
		t.Errorf("what was made is number %d with %d names (%v), and that of somebody else is %d", st.Ino, st.Nlink, err, number)
	}
	if inodeOf(t, filepath.Join(path, inside)) != number {
		t.Error("a FIFO that was not made here has lost its name")
	}
	if names := namesIn(t, filepath.Join(path, "away")); names != "" {
		t.Errorf("%s is left", names)
	}
	if err := in.close(); err == nil {
		t.Error("the private folder was moved away, and nobody has noticed")
	}
	testkit.Check(t, testkit.Must(vanishFIFO(folder))(t).Close())
}

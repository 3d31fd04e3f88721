package proc

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestInotifyWatches(t *testing.T) {
	f, err := ParseFDInfo(fixture(t, "fdinfo-inotify"))
	if err != nil {
		t.Fatal(err)
	}
	f.Extra = append(f.Extra, Field{"inotify", "wd:7fffffff ino:1 sdev:1a mask:8c000fff ignored_mask:0 "})
	list, err := f.InotifyWatches()
	equal(t, "error", err, nil)
	equal(t, "watches", list, []InotifyWatch{
		{WD: 1, Mask: unix.IN_MODIFY, InotifyInode: InotifyInode{Dev: unix.Mkdev(254, 0), Ino: 0x3c4a3, HandleType: 1, Handle: "\xa3\xc4\x03\x00\x00\x00\x00\x00"}},
		{WD: 1<<31 - 1, Mask: unix.IN_ALL_EVENTS | unix.IN_EXCL_UNLINK | unix.IN_ONESHOT, InotifyInode: InotifyInode{Dev: unix.Mkdev(0, 26), Ino: 1}},
	})
	for _, bad := range []string{"", "wd:0 ino:1 sdev:1 mask:1", "wd:80000000 ino:1 sdev:1 mask:1", "wd:1 ino:1 sdev:1", "wd:1 ino:x sdev:1 mask:1",
		"wd:1 ino:1 sdev:100000000 mask:1", "wd:1 ino:1 sdev:1 mask:100000000", "wd:1 ino:1 sdev:1 mask:1 fhandle-bytes:2 fhandle-type:1 f_handle:00",
		"wd:1 ino:1 sdev:1 mask:1 fhandle-bytes:1 fhandle-type:80000000 f_handle:00", "wd:1 ino:1 sdev:1 mask:1 fhandle-bytes:1 fhandle-type:1 f_handle:0"} {
		f := FDInfo{Extra: []Field{{"inotify", bad}}}
		if _, err := f.InotifyWatches(); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

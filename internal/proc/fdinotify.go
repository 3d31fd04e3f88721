package proc

import (
	"encoding/hex"
	"strings"

	"golang.org/x/sys/unix"
)

// InotifyWatch is a line of an inotify's fdinfo (fs/notify/fdinfo.c).
type InotifyWatch struct {
	WD   int
	Mask uint32 // IN_ bits
	InotifyInode
}

// InotifyInode identifies what is watched. Device and inode number are those the kernel
// uses itself; on some file systems stat(2) shows others.
type InotifyInode struct {
	Dev, Ino   uint64 // Dev as makedev(3) makes it
	HandleType int32
	Handle     string // the bytes of a file handle; "" if the file system has none
}

// userInotifyBits are those of the mask that inotify_add_watch(2) keeps. Before Linux 5.19
// the line had some of the kernel's own, too.
const userInotifyBits = unix.IN_ALL_EVENTS | unix.IN_EXCL_UNLINK | unix.IN_ONESHOT

// InotifyWatches returns what an inotify watches, in the kernel's order.
func (f *FDInfo) InotifyWatches() (list []InotifyWatch, err error) {
	for _, e := range f.Extra {
		if e.Key != "inotify" {
			continue
		}
		w, ok := parseInotify(e.Value)
		if !ok {
			return nil, malformed("fdinfo line of an inotify", []byte(e.Value))
		}
		list = append(list, w)
	}
	return list, nil
}

// parseInotify parses "wd:1 ino:3c4a3 sdev:fe00000 mask:2 ignored_mask:0 fhandle-bytes:8
// fhandle-type:1 f_handle:a3c4030000000000", all in hexadecimal.
func parseInotify(line string) (w InotifyWatch, ok bool) {
	var wd, dev, length, typ uint64
	found := 0
	for _, word := range strings.Fields(line) {
		key, value, _ := strings.Cut(word, ":")
		ok := true
		switch key {
		case "wd":
			ok = setUint(&wd, value, 16)
			found++
		case "ino":
			ok = setUint(&w.Ino, value, 16)
			found++
		case "sdev":
			ok = setUint(&dev, value, 16)
			found++
		case "mask":
			ok = setUint(&w.Mask, value, 16)
			found++
		case "fhandle-bytes":
			ok = setUint(&length, value, 16)
		case "fhandle-type":
			ok = setUint(&typ, value, 16)
		case "f_handle":
			var b []byte
			var err error
			b, err = hex.DecodeString(value)
			w.Handle, ok = string(b), err == nil
		}
		if !ok {
			return w, false
		}
	}
	const minorBits = 20 // MINORBITS of linux/kdev_t.h
	w.WD, w.Dev, w.HandleType = int(wd), unix.Mkdev(uint32(dev>>minorBits), uint32(dev&(1<<minorBits-1))), int32(typ)
	w.Mask &= userInotifyBits
	return w, found == 4 && wd > 0 && wd < 1<<31 && dev < 1<<32 && uint64(len(w.Handle)) == length && typ < 1<<31
}

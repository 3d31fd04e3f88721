package files

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/object"
	"ckpt/internal/objhash"
	"ckpt/internal/proc"
	"ckpt/internal/testkit"
	"ckpt/stream"
	"ckpt/stream/record"
)

// rootUser has object 1 open.
var rootUser = map[uint64]*User{1: {PID: 7, Comm: "x", Creds: &record.Creds{UID: make([]uint32, 4), GID: make([]uint32, 4), Eff: 1<<41 - 1}, Read: true}}

// watchRecord is of a watch on a path.
func watchRecord(t *testing.T, path string, wd int, mask uint32) *record.InotifyWatch {
	t.Helper()
	s := &Subject{PID: os.Getpid(), FD: -1, Link: path, Target: path}
	testkit.Check(t, unix.Lstat(path, &s.Stat))
	w := watchOf(s)
	w.WD, w.Mask, w.TID, w.Refs.Inotify = wd, mask, 7, 1
	return w
}

// restored makes an instance with watches, as a restart does. noise is called between
// the last two phases.
func restoredInotify(t *testing.T, waiting int64, noise func(), watches ...*record.InotifyWatch) *os.File {
	t.Helper()
	r := fuzzed(t, false)
	r.SameBoot, r.Users = true, rootUser
	m := &inotifyMaker{Restorer: r}
	obj := testkit.Must(m.make(testkit.Must(stream.New(record.TypeInotify, &record.Inotify{Object: record.Object{Objref: 1}, Waiting: waiting}))(t)))(t)
	testkit.Check(t, r.Hash.Add(1, record.TypeInotify, obj))
	for _, w := range watches {
		testkit.Check(t, m.add(testkit.Must(stream.New(record.TypeInotifyWatch, w))(t)))
	}
	f := testkit.Must(obj.Open(unix.O_NONBLOCK))(t)
	t.Cleanup(func() { f.Close() })
	testkit.Check(t, obj.Commit())
	if noise != nil {
		noise()
	}
	testkit.Check(t, obj.Close())
	return f
}

type seen struct {
	wd   int32
	mask uint32
}

// events takes what waits.
func events(t *testing.T, f *os.File) (all []seen) {
	t.Helper()
	b := make([]byte, 1<<16)
	n, err := unix.Read(int(f.Fd()), b)
	if err != nil {
		return nil
	}
	for b = b[:n]; len(b) > 0; b = b[eventBytes+binary.NativeEndian.Uint32(b[12:]):] {
		all = append(all, seen{int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:])})
	}
	return all
}

func sees(t *testing.T, f *os.File, want ...seen) {
	t.Helper()
	got := events(t, f)
	if len(got) != len(want) {
		t.Fatalf("%x, want %x", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%x, want %x", got, want)
		}
	}
}

var overflowed = seen{-1, unix.IN_Q_OVERFLOW}

// TestInotify: what a restored program reads, by what became of its files.
func TestInotify(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	file := func(name string) string {
		testkit.Check(t, os.WriteFile(path(name), nil, 0o600))
		return path(name)
	}
	const mask = unix.IN_MODIFY | unix.IN_DELETE_SELF
	t.Run("unchanged", func(t *testing.T) {
		f := restoredInotify(t, 0, nil, watchRecord(t, file("a"), 5, mask), watchRecord(t, file("b"), 900, mask), watchRecord(t, dir, 7, unix.IN_CREATE))
		sees(t, f)
		testkit.Check(t, os.WriteFile(path("b"), []byte("x"), 0))
		file("c")
		sees(t, f, seen{900, unix.IN_MODIFY}, seen{7, unix.IN_CREATE})
	})
	t.Run("waiting", func(t *testing.T) {
		f := restoredInotify(t, 16, nil, watchRecord(t, file("a"), 1, mask))
		sees(t, f, overflowed)
		testkit.Check(t, os.WriteFile(path("a"), []byte("x"), 0))
		sees(t, f, seen{1, unix.IN_MODIFY})
	})
	t.Run("gone", func(t *testing.T) {
		w := watchRecord(t, file("a"), 3, mask)
		testkit.Check(t, os.Remove(path("a")))
		sees(t, restoredInotify(t, 0, nil, w), overflowed, seen{3, unix.IN_DELETE_SELF}, seen{3, unix.IN_IGNORED})
	})
	t.Run("another type", func(t *testing.T) {
		w := watchRecord(t, file("a"), 3, 0)
		testkit.Check(t, os.Remove(path("a")))
		testkit.Check(t, os.Mkdir(path("a"), 0o700))
		sees(t, restoredInotify(t, 0, nil, w), overflowed, seen{3, unix.IN_IGNORED})
		testkit.Check(t, os.Remove(path("a")))
	})
	t.Run("renamed", func(t *testing.T) {
		w := watchRecord(t, file("a"), 3, mask)
		testkit.Check(t, os.Rename(path("a"), path("z")))
		f := restoredInotify(t, 0, nil, w)
		sees(t, f, overflowed)
		testkit.Check(t, os.WriteFile(path("z"), []byte("x"), 0))
		sees(t, f, seen{3, unix.IN_MODIFY})
	})
	t.Run("one file now", func(t *testing.T) {
		a, b := watchRecord(t, file("a"), 1, mask), watchRecord(t, file("b"), 2, mask)
		testkit.Check(t, os.Remove(path("b")))
		testkit.Check(t, os.Link(path("a"), path("b")))
		b.FH = nil
		sees(t, restoredInotify(t, 0, nil, a, b), overflowed, seen{2, unix.IN_DELETE_SELF}, seen{2, unix.IN_IGNORED})
	})
	t.Run("noise", func(t *testing.T) {
		noise := func() { _, _ = os.ReadFile(path("a")) }
		f := restoredInotify(t, 0, noise, watchRecord(t, file("a"), 1, unix.IN_ALL_EVENTS), watchRecord(t, dir, 2, unix.IN_OPEN|unix.IN_ONESHOT))
		sees(t, f)
		noise()
		if got := events(t, f); len(got) != 4 || got[1] != (seen{2, unix.IN_OPEN}) && got[0] != (seen{2, unix.IN_OPEN}) {
			t.Errorf("%x", got)
		}
		sees(t, restoredInotify(t, 16, noise, watchRecord(t, path("a"), 1, unix.IN_ALL_EVENTS)), overflowed)
	})
}

func TestCheckInotify(t *testing.T) {
	here, gone := t.TempDir(), filepath.Join(t.TempDir(), "gone")
	good := func() *record.InotifyWatch { return watchRecord(t, here, 1, unix.IN_CREATE) }
	for name, c := range map[string]struct {
		rec          any
		paper, notes int // whether it is good on paper, and notes here
	}{
		"instance":         {&record.Inotify{Waiting: 5}, 1, 0},
		"negative":         {&record.Inotify{Waiting: -1}, 0, 0},
		"watch":            {good(), 1, 0},
		"number":           {func() any { w := good(); w.WD = 0; return w }(), 0, 0},
		"too high":         {func() any { w := good(); w.WD = 1 << 31; return w }(), 0, 0},
		"mask":             {func() any { w := good(); w.Mask = unix.IN_IGNORED; return w }(), 0, 0},
		"path":             {func() any { w := good(); w.Path = "x"; return w }(), 0, 0},
		"gone":             {func() any { w := good(); w.Path, w.FH = gone, nil; return w }(), 1, 1},
		"another":          {func() any { w := good(); w.Ino++; w.FH = nil; return w }(), 1, 1},
		"deleted":          {func() any { w := good(); w.Path, w.Deleted = gone, true; return w }(), 1, 0},
		"open in the tree": {func() any { w := good(); w.Path, w.Refs.Inode = "", 5; return w }(), 1, 0},
	} {
		typ := record.TypeInotifyWatch
		if _, ok := c.rec.(*record.Inotify); ok {
			typ = record.TypeInotify
		}
		rec, notes := testkit.Must(stream.New(typ, c.rec))(t), 0
		for _, paper := range []bool{true, false} {
			r := fuzzed(t, paper)
			r.Note, r.SameBoot, r.Users = func(string, ...any) { notes++ }, true, rootUser
			errs := (&inotifyMaker{Restorer: r}).check(rec)
			if (len(errs) == 0) != (c.paper == 1) || c.paper == 0 && !errors.Is(errs[0], stream.ErrCorrupt) {
				t.Errorf("%s: %v", name, errs)
			}
		}
		if notes != c.notes {
			t.Errorf("%s: %d notes, want %d", name, notes, c.notes)
		}
	}
}

// TestTooManyInotify: more instances or watches than a user may have are refused once.
func TestTooManyInotify(t *testing.T) {
	m := &inotifyMaker{Restorer: &Restorer{Restart: &object.Restart{Hash: objhash.New[object.Object]()}}}
	most := testkit.Must(os.ReadFile("/proc/sys/fs/inotify/max_user_instances"))(t)
	errs := 0
	for n := 1; n < 100000 && errs == 0; n++ {
		if errs = len(m.here(nil)); errs > 0 {
			t.Logf("%d instances, and a user may have %s", n, most)
		}
	}
	if errs != 1 || len(m.here(nil)) != 0 {
		t.Errorf("%d errors", errs)
	}
}

// TestUnfoundWatch: what can't be found is named, and what the user can do is not the same
// for all.
func TestUnfoundWatch(t *testing.T) {
	w := &proc.InotifyWatch{WD: 7, InotifyInode: proc.InotifyInode{Dev: unix.Mkdev(8, 1), Ino: 99}}
	for lacks, want := range map[bool][2]string{
		false: {"whose path can't be found; that can't be saved", "let the program remove watch 7, or find the file (find / -xdev -inum 99)"},
		true:  {"whose path can't be found without CAP_DAC_READ_SEARCH; that can't be saved", "run ckpt-collect as root"},
	} {
		u := &unfoundWatch{5, w, lacks}
		if !strings.HasPrefix(u.Error(), "fd 5 is an inotify that watches inode 99 of the file system 8:1, ") || !strings.Contains(u.Error(), want[0]) || !strings.Contains(u.Hint(), want[1]) {
			t.Errorf("%v; %s", u, u.Hint())
		}
	}
}

// TestServed: nothing is looked at where a server is asked who may never answer.
func TestServed(t *testing.T) {
	f := &finder{served: servedPoints([]proc.Mount{{Point: "/", FSType: "ext4"}, {Point: "/home/x/mnt", FSType: "fuse.sshfs"}, {Point: "/net", FSType: "nfs4"}, {Point: "/tmp", FSType: "tmpfs"}})}
	for path, want := range map[string]bool{"/": false, "/home/x": false, "/home/x/mnt": true, "/home/x/mnt/a/b": true, "/home/x/mnt2": false, "/net": true, "/net/a": true, "/tmp/x": false} {
		if got := f.isServed(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	if (&finder{served: servedPoints([]proc.Mount{{Point: "/", FSType: "virtiofs"}})}).isServed("/") != true {
		t.Error("/ of virtiofs")
	}
}

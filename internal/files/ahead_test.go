package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/ends"
	"ckpt/internal/proc"
	"ckpt/internal/testkit"
	"ckpt/stream"
	"ckpt/stream/record"
)

// openedFile is a file that a program of user 4711 has open to read.
type openedFile struct {
	r         *Restorer
	path      string
	reg, file *stream.Record
}

func newOpenedFile(t *testing.T, text string) *openedFile {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	testkit.Check(t, errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, []byte(text), 0o600)))
	s := &Subject{PID: os.Getpid(), FD: 3, Link: path, Target: path}
	testkit.Check(t, unix.Lstat(path, &s.Stat))
	o := &openedFile{r: fuzzed(t, false), path: path}
	o.r.Ends = testkit.Must(ends.Parse(nil, nil))(t)
	ids := []uint32{4711, 4711, 4711, 4711}
	o.r.SameBoot, o.r.Users = true, map[uint64]*User{1: {PID: 7, Comm: "x", Creds: &record.Creds{UID: ids, GID: ids}, Read: true}}
	o.reg = testkit.Must(stream.New(record.TypeReg, &record.Reg{Object: record.Object{Objref: 1}, Stat: statOf(s), Size: s.Stat.Size, Nlink: 1}))(t)
	o.file = testkit.Must(stream.New(record.TypeFile, &record.File{Object: record.Object{Objref: 2}, Refs: record.InodeRef{Inode: 1}}))(t)
	t.Cleanup(o.r.Forget)
	return o
}

// check is what ckpt-apply does before it makes anything.
func (o *openedFile) check() error {
	errs := o.r.Decide([]*stream.Record{o.reg, o.file}, nil)
	return errors.Join(append(errs, o.r.checkReg(o.reg)...)...)
}

// open opens the file by its description and returns what is in it.
func (o *openedFile) open(t *testing.T) (text []byte, err error) {
	t.Helper()
	testkit.Check(t, o.r.Hash.Add(1, record.TypeReg, testkit.Must(o.r.makeReg(o.reg))(t)))
	obj, err := o.r.makeFile(o.file)
	if err != nil {
		return nil, err
	}
	f := testkit.Must(obj.(*file).f.Dup())(t)
	defer f.Close()
	return io.ReadAll(f)
}

// TestPathLeadsElsewhere: what was found when the stream was checked is opened, wherever
// its path leads after that, and it is not kept open for longer than it is needed.
func TestPathLeadsElsewhere(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"nothing": func(string) error { return nil },
		"another file": func(path string) error {
			return errors.Join(os.WriteFile(path+".new", []byte("other"), 0o644), os.Rename(path+".new", path))
		},
		"a link": func(path string) error {
			return errors.Join(os.Remove(path), os.Symlink("/etc/passwd", path))
		},
		"nowhere": os.Remove,
	} {
		for _, ahead := range []bool{false, true} {
			o := newOpenedFile(t, "its own")
			if err := o.check(); err != nil {
				t.Fatal(err)
			}
			if o.r.Kept() != 1 {
				t.Fatalf("%s: %d files are kept", name, o.r.Kept())
			}
			testkit.Check(t, change(o.path))
			if ahead {
				o.r.OpenAhead([]*stream.Record{o.reg, o.file})
				if f := o.r.found[1]; f.opened < 0 || f.fd >= 0 {
					t.Errorf("%s: it was not opened ahead", name)
				}
			}
			if text, err := o.open(t); err != nil || !bytes.Equal(text, []byte("its own")) {
				t.Errorf("%s: %q, %v", name, text, err)
			}
			if o.r.Kept() != 0 {
				t.Errorf("%s: it is kept", name)
			}
		}
	}
}

// TestRightsChangeAfterCheck: a file that got another mode is not the very file any more,
// so it is opened with the rights of the program, which may not; and one that got another
// size is refused.
func TestRightsChangeAfterCheck(t *testing.T) {
	for name, c := range map[string]struct {
		change func(path string) error
		says   string
	}{
		"mode": {func(path string) error { return os.Chmod(path, 0o640) }, "is opened with the rights of pid 7"},
		"size": {func(path string) error { return os.Truncate(path, 1) }, "shrank by"},
	} {
		o := newOpenedFile(t, "its own")
		if err := o.check(); err != nil {
			t.Fatal(err)
		}
		testkit.Check(t, c.change(o.path))
		o.r.OpenAhead([]*stream.Record{o.reg, o.file})
		if text, err := o.open(t); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

// TestManyFiles: of many files, which are found and opened on all CPUs, each description
// gets its own, and none is open twice.
func TestManyFiles(t *testing.T) {
	const files = 200
	dir := t.TempDir()
	r := fuzzed(t, false)
	r.SameBoot, r.Ends, r.Users = true, testkit.Must(ends.Parse(nil, nil))(t), nil
	t.Cleanup(r.Forget)
	var recs []*stream.Record
	for i := range uint64(files) {
		path := filepath.Join(dir, fmt.Sprint(i))
		testkit.Check(t, os.WriteFile(path, []byte(path), 0o600))
		s := &Subject{PID: os.Getpid(), FD: 3, Link: path, Target: path}
		testkit.Check(t, unix.Lstat(path, &s.Stat))
		recs = append(recs,
			testkit.Must(stream.New(record.TypeReg, &record.Reg{Object: record.Object{Objref: 2*i + 1}, Stat: statOf(s), Size: s.Stat.Size, Nlink: 1}))(t),
			testkit.Must(stream.New(record.TypeFile, &record.File{Object: record.Object{Objref: 2*i + 2}, Refs: record.InodeRef{Inode: 2*i + 1}}))(t))
	}
	testkit.Check(t, errors.Join(r.Decide(recs, nil)...))
	if r.Kept() != files {
		t.Fatalf("%d files are kept", r.Kept())
	}
	r.OpenAhead(recs)
	before := len(testkit.Must(proc.FDs(os.Getpid()))(t))
	for i := 0; i < len(recs); i += 2 {
		testkit.Check(t, r.Hash.Add(uint64(i+1), record.TypeReg, testkit.Must(r.makeReg(recs[i]))(t)))
		f := testkit.Must(testkit.Must(r.makeFile(recs[i+1]))(t).(*file).f.Dup())(t)
		text, err := io.ReadAll(f)
		if want := filepath.Join(dir, fmt.Sprint(i/2)); err != nil || string(text) != want {
			t.Errorf("%s: %q, %v", want, text, err)
		}
		testkit.Check(t, f.Close())
	}
	if now := len(testkit.Must(proc.FDs(os.Getpid()))(t)); now != before || r.Kept() != 0 {
		t.Errorf("%d descriptors are open, %d were, and %d are kept", now, before, r.Kept())
	}
}

// TestFoundFails: what is in the way of a file is said by the check of its record, once,
// and nothing is kept open.
func TestFoundFails(t *testing.T) {
	o := newOpenedFile(t, "its own")
	testkit.Check(t, os.Truncate(o.path, 3))
	if err := o.check(); err == nil || strings.Count(err.Error(), "shrank by") != 1 {
		t.Error(err)
	}
	if n := len(o.r.found); n != 0 {
		t.Errorf("%d are found", n)
	}
}

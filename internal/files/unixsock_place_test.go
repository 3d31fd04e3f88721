package files

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// TestStage: for each name, the folders that are made, and where it begins and ends.
func TestStage(t *testing.T) {
	for name, want := range map[string][]string{
		"x":              {".", "x"},
		"a/b/x":          {".", "a/b/x", "a", "a/b"},
		"./a//x":         {".", "a/x", "a"},
		"a/../x":         {"up", "up/x", "up", "up/a"},
		"../x":           {"up", "x", "up"},
		"../../a/../b/x": {"up/up/up", "up/b/x", "up", "up/up", "up/up/up", "up/a", "up/b"},
		"a/../../x":      {"up/up", "up/x", "up", "up/up", "up/up/a"},
		"/x":             {".", "x"},
		"/../a/x":        {".", "a/x", "a"},
	} {
		folders, begin, end := stage(name)
		if got := append([]string{begin, end}, folders...); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// boundRecord binds a socket, closes it, and returns the record that it would have.
func boundRecord(t *testing.T, dir, name string) *record.UnixSock {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	path := filepath.Join(dir, name)
	if err := sys.BindUnix(fd, []byte(path)); err != nil {
		t.Fatal(err)
	}
	at := func(path string) record.Stat {
		s := &Subject{Link: path, Target: path}
		if err := unix.Stat(path, &s.Stat); err != nil {
			t.Fatal(err)
		}
		return statOf(s)
	}
	folder := at(dir)
	s := &record.UnixSock{Object: record.Object{Objref: 1}, Ino: 5, Kind: unix.SOCK_STREAM, SndBuf: 1 << 17, RcvBuf: 1 << 17, Name: []byte(path), File: &record.SockFile{Stat: at(path), Folder: &folder}}
	s.File.Mode = unix.S_IFSOCK | 0o640
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	return s
}

// remade makes the sockets of records.
func remade(t *testing.T, r *Restorer, socks ...*record.UnixSock) []*unixSock {
	t.Helper()
	m := newSockMaker(r)
	var recs []*stream.Record
	for _, s := range socks {
		rec, err := stream.New(record.TypeUnixSock, s)
		if err := errors.Join(append(m.check(rec), err)...); err != nil {
			t.Fatal(err)
		}
		recs = append(recs, rec)
	}
	var made []*unixSock
	for _, rec := range recs {
		obj, err := m.make(rec)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, obj.(*unixSock))
	}
	for _, u := range made {
		if err := u.Complete(); err != nil {
			t.Fatal(err)
		}
	}
	return made
}

func inodeOf(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func namesIn(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// TestPlaces: of two sockets the files are put in their places, or, if the second can't
// be, nothing has changed; in both cases nothing else is left.
func TestPlaces(t *testing.T) {
	for what, spoil := range map[string]func(t *testing.T, dir string){
		"good": nil,
		"none was there": func(t *testing.T, dir string) {
			if err := errors.Join(os.Remove(dir+"/a"), os.Remove(dir+"/b")); err != nil {
				t.Fatal(err)
			}
		},
		"bad: another file": func(t *testing.T, dir string) {
			if err := errors.Join(os.Remove(dir+"/b"), os.WriteFile(dir+"/b", nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		},
		"bad: another socket": func(t *testing.T, dir string) {
			if err := os.Remove(dir + "/b"); err != nil {
				t.Fatal(err)
			}
			boundRecord(t, dir, "b")
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			a, b := boundRecord(t, dir, "a"), boundRecord(t, dir, "b")
			b.Ino, b.Objref = 6, 2
			r := fuzzed(t, false)
			r.SameBoot = true
			made := remade(t, r, a, b)
			if spoil != nil {
				spoil(t, dir)
			}
			err := errors.Join(made[0].Commit(), made[1].Commit())
			if bad := strings.HasPrefix(what, "bad"); (err != nil) != bad {
				t.Fatalf("%v", err)
			} else if bad {
				err = errors.Join(made[1].Undo(), made[0].Undo())
				if now := inodeOf(t, dir+"/a"); err != nil || now != a.File.Ino {
					t.Errorf("a is inode %d, was %d, %v", now, a.File.Ino, err)
				}
			} else {
				st, err := os.Stat(dir + "/a")
				if err != nil || st.Mode().Perm() != 0o640 || st.Mode().Type() != os.ModeSocket || inodeOf(t, dir+"/a") == a.File.Ino {
					t.Errorf("a: %v %v", st.Mode(), err)
				}
			}
			if err := errors.Join(made[0].Close(), made[1].Close()); err != nil {
				t.Error(err)
			}
			if got := namesIn(t, dir); got != "a b" {
				t.Errorf("there are %s", got)
			}
		})
	}
}

// TestPlaceRights: in a folder that is not the one of the checkpoint, a socket's file is
// made with the rights of the program only.
func TestPlaceRights(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("it takes another identity")
	}
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	s := boundRecord(t, dir, "a")
	if err := os.Remove(dir + "/a"); err != nil {
		t.Fatal(err)
	}
	s.File.Folder.Ino++
	r := fuzzed(t, false) // of user nobody
	rec, err := stream.New(record.TypeUnixSock, s)
	if err != nil {
		t.Fatal(err)
	}
	if errs := newSockMaker(r).check(rec); len(errs) != 1 || !errors.Is(errs[0], unix.EACCES) {
		t.Errorf("%v", errs)
	}
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	made := remade(t, r, s)
	if err := errors.Join(made[0].Commit(), made[0].Close()); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(dir + "/a"); err != nil || st.Mode().Type() != os.ModeSocket || namesIn(t, dir) != "a" {
		t.Errorf("%v %v, %s", st, err, namesIn(t, dir))
	}
}

// TestHostileSockets: records that no kernel has told are refused.
func TestHostileSockets(t *testing.T) {
	file := func() *record.SockFile {
		return &record.SockFile{Stat: record.Stat{Path: "/tmp/x", Mode: unix.S_IFSOCK}, Folder: &record.Stat{Path: "/tmp"}}
	}
	good := func() *record.UnixSock {
		return &record.UnixSock{Object: record.Object{Objref: 1}, Ino: 5, Kind: unix.SOCK_STREAM, Name: []byte("x"), File: file(), Listen: &record.Listen{Backlog: 1<<32 - 1}}
	}
	if err := judgeUnixSock(good()); err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(s *record.UnixSock){
		"a long name":                func(s *record.UnixSock) { s.Name = make([]byte, 109) },
		"a path with a zero":         func(s *record.UnixSock) { s.Name = []byte("a\x00b") },
		"a folder":                   func(s *record.UnixSock) { s.Name = []byte("a/") },
		"the folder above":           func(s *record.UnixSock) { s.Name = []byte("a/..") },
		"a path without a file":      func(s *record.UnixSock) { s.File = nil },
		"a file without a path":      func(s *record.UnixSock) { s.Name = []byte("\x00x") },
		"a file without a folder":    func(s *record.UnixSock) { s.File.Folder = nil },
		"deleted from a folder":      func(s *record.UnixSock) { s.File.Deleted = true },
		"a file in another folder":   func(s *record.UnixSock) { s.File.Path = "/tmp/a/x" },
		"a crooked path":             func(s *record.UnixSock) { s.File.Path = "/tmp/../tmp/x" },
		"a relative path":            func(s *record.UnixSock) { s.File.Path, s.File.Folder.Path = "tmp/x", "tmp" },
		"a file of another kind":     func(s *record.UnixSock) { s.File.Mode = unix.S_IFREG },
		"listening, without a name":  func(s *record.UnixSock) { s.Name, s.File = nil, nil },
		"listening for datagrams":    func(s *record.UnixSock) { s.Kind = unix.SOCK_DGRAM },
		"listening and connected":    func(s *record.UnixSock) { s.Peer = 6 },
		"listening and accepted":     func(s *record.UnixSock) { s.Accepted, s.File = true, nil },
		"a backlog of too many":      func(s *record.UnixSock) { s.Listen.Backlog = 1 << 32 },
		"accepted from nobody":       func(s *record.UnixSock) { s.Listen, s.File, s.Accepted = nil, nil, true },
		"a peer in the image, named": func(s *record.UnixSock) { s.Listen, s.Peer, s.PeerName = nil, 6, []byte("x") },
		"a peer with a bad name":     func(s *record.UnixSock) { s.Listen, s.Orphan, s.PeerName = nil, true, []byte("x\x00y") },
	} {
		s := good()
		if spoil(s); !errors.Is(judgeUnixSock(s), stream.ErrCorrupt) {
			t.Errorf("%s: %v", what, judgeUnixSock(s))
		}
	}
	// What several of them say together is found when they are made.
	conn := func(ino, peer uint64) *record.UnixSock {
		return &record.UnixSock{Object: record.Object{Objref: ino}, Ino: ino, Peer: peer, Kind: unix.SOCK_STREAM}
	}
	accepted := func(s *record.UnixSock) *record.UnixSock {
		s.Name, s.Accepted = []byte("\x00ckpt-hostile"), true
		return s
	}
	waits := func(name string) *record.UnixSock {
		return &record.UnixSock{Object: record.Object{Objref: 1}, Ino: 5, Kind: unix.SOCK_STREAM, Name: []byte("\x00ckpt-" + name), Listen: &record.Listen{Waiting: []uint64{6}}}
	}
	for what, socks := range map[string][]*record.UnixSock{
		"both accepted":          {accepted(conn(5, 6)), accepted(conn(6, 5))},
		"half a connection":      {accepted(conn(5, 6))},
		"one way":                {conn(5, 6), conn(6, 7), conn(7, 6)},
		"nobody waits":           {waits("nobody")},
		"who waits is connected": {waits("connected"), conn(6, 7), conn(7, 6)},
	} {
		m := newSockMaker(fuzzed(t, true))
		var recs []*stream.Record
		for _, s := range socks {
			rec, err := stream.New(record.TypeUnixSock, s)
			if err := errors.Join(append(m.check(rec), err)...); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			recs = append(recs, rec)
		}
		if _, err := m.make(recs[0]); !errors.Is(err, stream.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestPrivateFolder: a folder that somebody else has put in the place of the private one
// is not used.
func TestPrivateFolder(t *testing.T) {
	for _, c := range []struct {
		mode os.FileMode
		uid  int
		good bool
	}{{0o700, 0, true}, {0o755, 0, false}, {0o700, 65534, false}} {
		dir := filepath.Join(t.TempDir(), "d")
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, c.mode), os.Chown(dir, c.uid, -1)); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := (&sockFolder{dir: f, private: f, name: "d"}).isOurs(); (err == nil) != c.good {
			t.Errorf("%v of user %d: %v", c.mode, c.uid, err)
		}
	}
}

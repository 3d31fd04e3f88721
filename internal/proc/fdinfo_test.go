package proc

import (
	"errors"
	"testing"
)

func TestParseFDInfoKinds(t *testing.T) {
	for name, want := range map[string][]string{
		"epoll":    {"tfd", "tfd"},
		"inotify":  {"inotify"},
		"timerfd":  {"clockid", "ticks", "settime flags", "it_value", "it_interval"},
		"eventfd":  {"eventfd-count", "eventfd-id", "eventfd-semaphore"},
		"signalfd": {"sigmask"},
		"pidfd":    {"Pid", "NSpid"},
		"fanotify": {"fanotify", "fanotify"},
		"lease":    nil,
	} {
		f, err := ParseFDInfo(fixture(t, "fdinfo-"+name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var keys []string
		for _, e := range f.Extra {
			keys = append(keys, e.Key)
			if e.Value == "" {
				t.Errorf("%s: %s has no value", name, e.Key)
			}
		}
		equal(t, name, keys, want)
		if f.MntID == 0 || f.Ino == 0 {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestParseFDInfo(t *testing.T) {
	text := "pos:\t-9\nflags:\t02100002\nmnt_id:\t27\nino:\t18446744073709551615\n" +
		"inotify wd:1 ino:9 sdev:fe \nsettime flags: 01\npos:\tagain\nPollList:\n  0: /a:b \nbare\n"
	f, err := ParseFDInfo([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "fdinfo", f, FDInfo{Pos: -9, Flags: 0o2100002, MntID: 27, Ino: ^uint64(0), Extra: []Field{
		{"inotify", "wd:1 ino:9 sdev:fe "}, {"settime flags", "01"}, {"pos", "again"},
		{"PollList", ""}, {"0", "/a:b "}, {"bare", ""},
	}})
	v, ok := f.Get("0")
	equal(t, "get", []any{v, ok}, []any{"/a:b ", true})
	if _, ok := f.Get("1"); ok {
		t.Error("found what isn't there")
	}
	for _, bad := range []string{"", "pos:\t1\n", "pos:\tx\nflags:\t0\n", "pos:\t1\nflags:\t8\n",
		"pos:\t1\nflags:\t0\nlock:\t1: POSIX\n"} {
		if _, err := ParseFDInfo([]byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParseLocks(t *testing.T) {
	f, err := ParseFDInfo(fixture(t, "fdinfo-locks"))
	if err != nil {
		t.Fatal(err)
	}
	file := Lock{State: "ADVISORY", Mode: "WRITE", PID: 13112, Major: 0xfe, Inode: 9977918}
	flock, posix, ofd := file, file, file
	flock.Type, flock.End = "FLOCK", EOF
	posix.Type, posix.Start, posix.End = "POSIX", 5, 14
	ofd.Type, ofd.PID, ofd.Start, ofd.End = "OFDLCK", -1, 100, EOF
	equal(t, "locks", f.Locks, []Lock{flock, posix, ofd})

	f, err = ParseFDInfo(fixture(t, "fdinfo-lease"))
	equal(t, "error", err, nil)
	equal(t, "lease", f.Locks, []Lock{{Type: "LEASE", State: "ACTIVE", Mode: "READ", PID: 13112,
		Major: 0xfe, Inode: 9977919, End: EOF}})

	l, err := ParseLock("2: LEASE  BREAKING  UNLCK 0 <none>:0 0 EOF")
	equal(t, "error", err, nil)
	equal(t, "breaking", l, Lock{Type: "LEASE", State: "BREAKING", Mode: "UNLCK", End: EOF})
	for _, bad := range []string{"", "1 POSIX ADVISORY READ 1 0:0:0 0 0", "1: POSIX ADVISORY READ 1 0:0 0 0",
		"1: POSIX ADVISORY READ 1 0:0:0 9 8", "1: POSIX ADVISORY READ 1 0:0:0 -1 8",
		"1: POSIX ADVISORY READ 1 0:0:0 0 x"} {
		if _, err := ParseLock(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// equal compares what the test says with what was parsed.
func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %.2000s, want %.2000s", what, fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want))
	}
}

func TestParseStat(t *testing.T) {
	s, err := ParseStat(fixture(t, "stat-odd-name"))
	if err != nil {
		t.Fatal(err)
	}
	want := Stat{
		PID: 13067, Comm: ") R 1\n \\x(", State: 'R', PPID: 13061, PGRP: 13061, Session: 1896,
		TPGID: -1, Flags: 4194304, UTime: 5, STime: 2, CUTime: 3, CSTime: 3, Priority: 20, NumThreads: 1,
		StartTime: 306401, StartCode: 93969365450752, EndCode: 93969365451093,
		StartStack: 140720715717712, ExitSignal: 17, CPU: 1, StartData: 93969365462448,
		EndData: 93969365463064, StartBrk: 93970354499584, ArgStart: 140720715720681,
		ArgEnd: 140720715720737, EnvStart: 140720715720737, EnvEnd: 140720715722703,
	}
	equal(t, "stat", s, want)
	if IsKernelThread(s) || !IsKernelThread(Stat{Flags: 0x04208040}) {
		t.Error("kernel thread told wrong")
	}
}

// TestParseStatPositions gives every field its own number as value.
func TestParseStatPositions(t *testing.T) {
	text := "1 (x) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 " +
		"33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52"
	s, err := ParseStat([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "stat", s, Stat{1, "x", 'S', 4, 5, 6, 7, 8, 9, 14, 15, 16, 17, 18, 19, 20, 22,
		26, 27, 28, 38, 39, 40, 41, 45, 46, 47, 48, 49, 50, 51, 52})
	for _, bad := range []string{"", "1", ")(", "(x) S", "1 (x) ", text[:len(text)-6], strings.Replace(text, " 9 ", " z ", 1)} {
		if _, err := ParseStat([]byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParseStatus(t *testing.T) {
	s, err := ParseStatus(fixture(t, "status-odd-name"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "name", s.Name, ") R 1\n \\x(")
	equal(t, "umask", s.Umask, uint32(0o022))
	equal(t, "state", s.State, byte('R'))
	equal(t, "ids", []int{s.Tgid, s.Pid, s.PPid, s.TracerPid}, []int{13067, 13067, 13061, 0})
	equal(t, "nspid", s.NSpid, []int{13067})
	equal(t, "caps", s.CapEff, uint64(0x1fffeffffff))
	equal(t, "ignored", s.SigIgn, uint64(0x1001000))
	equal(t, "size", s.VmSize, uint64(18272<<10))
	equal(t, "thp", s.THPEnabled, true)
	equal(t, "groups", s.Groups, []uint32{})
	equal(t, "store bypass", s.SpecStoreBypass, "vulnerable")
}

func TestParseStatusMore(t *testing.T) {
	head := "Tgid:\t5\nPid:\t6\nUid:\t1\t2\t3\t4294967295\nGid:\t5\t6\t7\t8\n"
	s, err := ParseStatus([]byte(head + "Groups:\t0 4 100 \nNSpid:\t90\t6\t1\nTHP_enabled:\t0\n" +
		"Seccomp:\t2\nSeccomp_filters:\t3\nNoNewPrivs:\t1\nx86_Thread_features:\tshstk wrss \nNew: x\n"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "status", s, Status{
		Tgid: 5, Pid: 6, Uid: [4]uint32{1, 2, 3, 4294967295}, Gid: [4]uint32{5, 6, 7, 8},
		Groups: []uint32{0, 4, 100}, NSpid: []int{90, 6, 1}, Seccomp: 2, SeccompFilters: 3,
		NoNewPrivs: true, X86Features: []string{"shstk", "wrss"},
	})
	for _, bad := range []string{"", "Tgid:\t1\n", head + "Umask: 9", head + "VmRSS: 3", head + "Uid: 1 2 3",
		head + "NoNewPrivs: 2", head + "Groups: 99999999999", head + "VmRSS: 18446744073709551615 kB"} {
		if _, err := ParseStatus([]byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParseLimits(t *testing.T) {
	l, err := ParseLimits(fixture(t, "limits"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "cpu", l[unix.RLIMIT_CPU], Limit{Unlimited, Unlimited})
	equal(t, "stack", l[unix.RLIMIT_STACK], Limit{8388608, Unlimited})
	equal(t, "core", l[unix.RLIMIT_CORE], Limit{0, Unlimited})
	equal(t, "nofile", l[unix.RLIMIT_NOFILE], Limit{20000, 20000})
	equal(t, "nice", l[13], Limit{0, 0})
	equal(t, "rttime", l[15], Limit{Unlimited, Unlimited})
	if _, err := ParseLimits([]byte("Max cpu time 1 2\n")); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
	if _, err := ParseLimits([]byte("Max cpu time x 2\n")); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
}

func TestParseTimers(t *testing.T) {
	all, err := ParseTimers(fixture(t, "timers"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "timers", all, []Timer{
		{ID: 1, Signal: 60, Value: 0x7fff86e452a8, Notify: "signal/pid.2634", Mode: "signal", Target: 2634},
		{ID: 12, Notify: "thread/tid.2635", Mode: "thread", Thread: true, Target: 2635, ClockID: -21082},
	})
	for _, bad := range []string{"ID: x\n", "signal: 1/0\n", "ID: 1\nsignal: 1\n", "ID: 1\n", "ID: 1\nnotify: signal/xid.1\n"} {
		if _, err := ParseTimers([]byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParseCgroups(t *testing.T) {
	all, err := ParseCgroups(fixture(t, "cgroup"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "first", all[0], Cgroup{9, []string{"name=systemd"}, "/"})
	equal(t, "last", all[len(all)-1], Cgroup{0, nil, "/"})
	all, err = ParseCgroups([]byte("4:cpu,cpuacct:/a:/b \n2:name=x:y:/\n"))
	equal(t, "odd", all, []Cgroup{{4, []string{"cpu", "cpuacct"}, "/a:/b "}, {2, []string{"name=x:y"}, "/"}})
	equal(t, "error", err, nil)
	for _, bad := range []string{"x", "1:cpu", "z:cpu:/"} {
		if _, err := ParseCgroups([]byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParseSmall(t *testing.T) {
	v, err := parseHex([]byte("00040000\n"))
	equal(t, "hex", v, uint64(0x40000))
	equal(t, "error", err, nil)
	a, err := ParseAutogroup(fixture(t, "autogroup"))
	equal(t, "error", err, nil)
	if a.ID == 0 {
		t.Error("no autogroup id")
	}
	kind, ino, err := ParseNamespace("mnt:[4026531832]")
	equal(t, "namespace", []any{kind, ino, err}, []any{"mnt", uint64(4026531832), nil})
	for _, bad := range []string{"", "mnt", "mnt:[x]", "mnt:[1", ":[1]"} {
		if _, _, err := ParseNamespace(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := ParseChildren(bytes.Repeat([]byte("1 "), 3)); err != nil {
		t.Error(err)
	}
}

func TestTimeOffsets(t *testing.T) {
	o, err := ParseTimeOffsets([]byte("monotonic          -5 500000000\nboottime      1000000         1\n"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "offsets", o, TimeOffsets{-4_500_000_000, 1_000_000_000_000_001})
	for _, want := range []time.Duration{0, 1, -1, -4_500_000_000, 1_000_000_000_000_001, -3_000_000_000} {
		o, err := ParseTimeOffsets([]byte(offsetLine("boottime", want)))
		if err != nil || o.Boottime != want {
			t.Errorf("%v was written and %v read (%v)", want, o.Boottime, err)
		}
	}
	for _, bad := range []string{"x\n", "monotonic 1\n", "monotonic 1 -1\n", "boottime 99999999999 0\n", "boottime 1 1000000000\n"} {
		if _, err := ParseTimeOffsets([]byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParsePlaced(t *testing.T) {
	placed, err := ParsePlaced([]byte("00400000 default file=/bin/x mapped=1\n7f0000000000 prefer (many):0 anon=1\n7f0000001000 bind=static:0-3\n"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "placed", placed, map[uint64]bool{0x7f0000000000: true, 0x7f0000001000: true})
	for _, bad := range []string{"x\n", "00400000\n", "00400000 \n"} {
		if _, err := ParsePlaced([]byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

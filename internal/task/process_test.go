package task

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

func recordOf(t *testing.T, typ record.Type, meta any) *stream.Record {
	t.Helper()
	rec, err := stream.New(typ, meta)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// check returns what the resource of its type says about a record.
func check(t *testing.T, typ record.Type, meta any) error {
	t.Helper()
	return errors.Join(Find(typ).Check(recordOf(t, typ, meta))...)
}

func TestCheckTimers(t *testing.T) {
	if err := check(t, record.TypeTimers, &record.Timers{PID: 7, Timers: []record.Timer{
		{ID: 0, Clock: 1, ValueNS: 5, IntervalNS: 9},
		{ID: 9, Clock: ^7<<3 | 2, Notify: sigevThreadID, Signal: 40, TID: 7},
	}}); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]record.Timer{
		"negative id":   {ID: -1},
		"huge id":       {ID: 1 << 31},
		"negative time": {ValueNS: -1},
		"interval":      {IntervalNS: -1},
		"signal":        {Signal: 65},
		"notify":        {Notify: 8},
		"thread":        {TID: -1},
		"device clock":  {Clock: ^7<<3 | 3},
	} {
		if err := check(t, record.TypeTimers, &record.Timers{Timers: []record.Timer{bad}}); !errors.Is(err, stream.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := check(t, record.TypeTimers, &record.Timers{Timers: []record.Timer{{ID: 3}, {ID: 3}}}); !errors.Is(err, stream.ErrCorrupt) {
		t.Errorf("the same id twice: %v", err)
	}
}

func TestSavableClock(t *testing.T) {
	const pid, thread, other = 100, 101, 55
	cpu := func(id, bits int) int { return ^id<<3 | bits }
	for _, c := range []struct {
		clock int
		tids  []int
		says  string
	}{
		{unix.CLOCK_MONOTONIC, []int{pid, thread}, ""},
		{unix.CLOCK_PROCESS_CPUTIME_ID, []int{pid, thread}, ""},
		{unix.CLOCK_THREAD_CPUTIME_ID, []int{pid}, ""},
		{unix.CLOCK_THREAD_CPUTIME_ID, []int{pid, thread}, "does not tell which"},
		{cpu(0, 2), []int{pid}, ""},
		{cpu(pid, 2), []int{pid}, ""},
		{cpu(other, 2), []int{pid}, "another process, pid 55"},
		{cpu(thread, 4|2), []int{pid, thread}, ""},
		{cpu(other, 4|2), []int{pid, thread}, "thread 55, which has ended"},
		{cpu(5, 3), []int{pid}, "clock device"},
	} {
		err := savableClock(&record.Timer{Clock: c.clock}, pid, c.tids)
		if (c.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("clock %d: %v, want %q", c.clock, err, c.says)
		}
	}
}

// ret is a filter of one instruction that returns k.
func ret(k uint32) record.SeccompFilter {
	b := binary.LittleEndian.AppendUint32(nil, unix.BPF_RET|unix.BPF_K)
	return record.SeccompFilter{Program: binary.LittleEndian.AppendUint32(b, k)}
}

func TestCheckSeccomp(t *testing.T) {
	long := record.SeccompFilter{Program: make([]byte, 8*maxInstructions)}
	for name, bad := range map[string]record.Seccomp{
		"mode":              {Mode: 3},
		"none":              {Mode: 0},
		"no filter":         {Mode: unix.SECCOMP_MODE_FILTER},
		"strict and filter": {Mode: unix.SECCOMP_MODE_STRICT, Filters: []record.SeccompFilter{ret(0)}},
		"empty program":     {Mode: 2, Filters: []record.SeccompFilter{{}}},
		"odd program":       {Mode: 2, Filters: []record.SeccompFilter{{Program: make([]byte, 9)}}},
		"long program":      {Mode: 2, Filters: []record.SeccompFilter{{Program: make([]byte, 8*(maxInstructions+1))}}},
		"too many":          {Mode: 2, Filters: []record.SeccompFilter{long, long, long, long, long, long, long, long}},
		"flags":             {Mode: 2, Filters: []record.SeccompFilter{{Program: make([]byte, 8), Flags: unix.SECCOMP_FILTER_FLAG_TSYNC}}},
		"common":            {Mode: 2, Filters: []record.SeccompFilter{ret(0)}, Common: 2},
	} {
		if err := check(t, record.TypeSeccomp, &bad); !errors.Is(err, stream.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	a, b := ret(unix.SECCOMP_RET_ALLOW), ret(unix.SECCOMP_RET_USER_NOTIF|5)
	if notifies(a) || !notifies(b) {
		t.Error("user notification is not recognized")
	}
	logged := a
	logged.Flags = unix.SECCOMP_FILTER_FLAG_LOG
	if n := samePrefix([]record.SeccompFilter{a, b, a}, []record.SeccompFilter{a, b, logged, a}); n != 2 {
		t.Errorf("%d filters are the same, want 2", n)
	}
}

// insn is an instruction of a filter.
func insn(code uint16, yes, no byte, k uint32) []byte {
	b := append(binary.LittleEndian.AppendUint16(nil, code), yes, no)
	return binary.LittleEndian.AppendUint32(b, k)
}

// on is a filter that returns k for one system call and allows all others.
func on(nr, k uint32) record.SeccompFilter {
	return record.SeccompFilter{Program: slices.Concat(
		insn(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, 0),
		insn(unix.BPF_JMP|unix.BPF_JEQ, 0, 1, nr),
		insn(unix.BPF_RET, 0, 0, k),
		insn(unix.BPF_RET, 0, 0, unix.SECCOMP_RET_ALLOW))}
}

func TestGoesHome(t *testing.T) {
	// Decides by arithmetic, memory and registers what a comparison of nr would.
	computed := record.SeccompFilter{Program: slices.Concat(
		insn(unix.BPF_LDX|unix.BPF_IMM, 0, 0, 3),
		insn(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, 0),
		insn(unix.BPF_ALU|unix.BPF_ADD|unix.BPF_X, 0, 0, 0),
		insn(unix.BPF_ST, 0, 0, 5),
		insn(unix.BPF_LDX|unix.BPF_MEM, 0, 0, 5),
		insn(unix.BPF_MISC|unix.BPF_TXA, 0, 0, 0),
		insn(unix.BPF_ALU|unix.BPF_SUB, 0, 0, unix.SYS_RT_SIGPROCMASK+3),
		insn(unix.BPF_JMP|unix.BPF_JSET, 1, 0, ^uint32(0)),
		insn(unix.BPF_JMP|unix.BPF_JA, 0, 0, 1),
		insn(unix.BPF_RET, 0, 0, unix.SECCOMP_RET_ALLOW),
		insn(unix.BPF_RET, 0, 0, unix.SECCOMP_RET_KILL_THREAD))}
	for name, c := range map[string]struct {
		f    record.SeccompFilter
		home bool
	}{
		"all":         {ret(unix.SECCOMP_RET_ALLOW), true},
		"logged":      {ret(unix.SECCOMP_RET_LOG), true},
		"none":        {ret(unix.SECCOMP_RET_KILL_PROCESS), false},
		"other":       {on(unix.SYS_READ, unix.SECCOMP_RET_KILL_PROCESS), true},
		"unmap error": {on(unix.SYS_MUNMAP, unix.SECCOMP_RET_ERRNO|1), true},
		"unmap trap":  {on(unix.SYS_MUNMAP, unix.SECCOMP_RET_TRAP), false},
		"mask error":  {on(unix.SYS_RT_SIGPROCMASK, unix.SECCOMP_RET_ERRNO|1), false},
		"computed":    {computed, false},
		"no end":      {record.SeccompFilter{Program: insn(unix.BPF_LD, 0, 0, 0)}, false},
		"far":         {record.SeccompFilter{Program: insn(unix.BPF_JMP, 0, 0, ^uint32(0))}, false},
	} {
		if got := goesHome([]record.SeccompFilter{ret(unix.SECCOMP_RET_ALLOW), c.f}); got != c.home {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestFindCgroup(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"v1/a/b", "v1/frozen", "v2/a", "v2/frozen"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"v1/a/b/freezer.state": "THAWED\n", "v1/frozen/freezer.state": "FREEZING\n",
		"v2/a/cgroup.events": "populated 1\nfrozen 0\n", "v2/frozen/cgroup.events": "populated 0\nfrozen 1\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mounts := []proc.Mount{
		{Root: "/", Point: root + "/v2", FSType: "cgroup2", Options: []string{"rw"}},
		{Root: "/in", Point: root + "/v1", FSType: "cgroup", Options: []string{"rw", "cpu", "cpuacct"}},
	}
	for _, c := range []struct {
		hierarchy, path, dir string
		err                  error
	}{
		{"", "/a", "/v2/a", nil},
		{"", "/", "/v2", nil},
		{"", "/b", "", errNoCgroup},
		{"", "/a (deleted)", "", errNoCgroup},
		{"", "/../v1", "", errNoCgroup},
		{"", "a", "", errNoCgroup},
		{"", "", "", errNoCgroup},
		{"", "/frozen", "/v2/frozen", errFrozenCgroup},
		{"cpu", "/in/a/b", "/v1/a/b", nil},
		{"cpuacct,cpu", "/in", "/v1", nil},
		{"cpu", "/a/b", "", errNoCgroup},
		{"cpu", "/inner", "", errNoCgroup},
		{"cpu", "/in/frozen", "/v1/frozen", errFrozenCgroup},
		{"memory", "/in/a", "", errNoCgroup},
	} {
		want := c.dir
		if want != "" {
			want = root + want
		}
		dir, err := findCgroup(mounts, record.Cgroup{Hierarchy: c.hierarchy, Path: []byte(c.path)})
		if dir != want || !errors.Is(err, c.err) {
			t.Errorf("%s:%s: %q, %v", c.hierarchy, c.path, dir, err)
		}
	}
}

func TestCgroupPolicy(t *testing.T) {
	gone := recordOf(t, record.TypeCgroups, &record.Cgroups{PID: 7, Groups: []record.Cgroup{{Hierarchy: "memory", Path: []byte("/no such group")}}})
	for text, errs := range map[string]int{"": 0, "keep": 0, "ignore": 0, "strict": 1} {
		p, err := ParseCgroupPolicy(text)
		if err != nil {
			t.Error(err)
		}
		if got := CheckCgroups(gone, p); len(got) != errs {
			t.Errorf("%q: %v", text, got)
		}
	}
	if _, err := ParseCgroupPolicy("hold"); err == nil {
		t.Error("an unknown policy is taken")
	}
	if errs := CheckCgroups(nil, CgroupsStrict); errs != nil {
		t.Errorf("no record: %v", errs)
	}
}

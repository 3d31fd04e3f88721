package judge

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

// tableOf is the model of one process with descriptors 0 to n-1, and one more, last.
func tableOf(t *testing.T, n, last int) *Model {
	t.Helper()
	m := modelOf(person{pid: 7, ppid: 1, sid: 7})
	th := m.Tasks[0].Threads[0]
	th.Comm = "crowd"
	m.ByTID[7] = th
	table := &Table{}
	for fd := range n {
		table.FDs = append(table.FDs, record.FD{FD: fd})
		m.Objects = append(m.Objects, &stream.Record{Type: record.TypeFile}, &stream.Record{Type: record.TypeEventFD})
	}
	if last >= n {
		table.FDs = append(table.FDs, record.FD{FD: last})
	}
	m.Tables = map[uint64]*Table{th.Refs.Files: table}
	return m
}

func generous(n uint64) allowance {
	return allowance{descriptors: func(k uint64) bool { return k <= n }, most: n, room: 1000, files: unbounded}
}

func TestBeyond(t *testing.T) {
	epoll := tableOf(t, 3, 0)
	for _, table := range epoll.Tables {
		table.Slots = []int{100}
	}
	with := func(a allowance, change func(*allowance)) allowance { change(&a); return a }
	for name, c := range map[string]struct {
		m       *Model
		a       allowance
		isThere bool
		want    string
	}{
		"room":                 {tableOf(t, 98, 99), generous(101), false, ""},
		"none is left":         {tableOf(t, 99, 0), generous(100), false, "pid 7 (crowd) has 99 descriptors and needs 101 while it is restored, and a process of this user may have 100 (RLIMIT_NOFILE)"},
		"a high number":        {tableOf(t, 3, 100), generous(100), false, "pid 7 (crowd) has descriptor number 100, and no process of this user may have one above 99 (RLIMIT_NOFILE)"},
		"the last number":      {tableOf(t, 3, 99), generous(100), false, ""},
		"a number of an epoll": {epoll, generous(100), false, "pid 7 (crowd) has descriptor number 100, and"},
		"open files":           {tableOf(t, 50, 0), with(generous(100), func(a *allowance) { a.files = 49 }), false, "the image has 50 open files, and this system allows 49"},
		"few tasks": {tableOf(t, 50, 0), with(generous(100), func(a *allowance) { a.tasks = []bound{{16, "pids.max of control group /x"}} }), false,
			"restoring this takes 17 more processes and threads, and pids.max of control group /x allows 16"},
		"the tasks are there": {tableOf(t, 50, 0), with(generous(100), func(a *allowance) { a.tasks = []bound{{0, "RLIMIT_NPROC"}} }), true, ""},
		"holders": {tableOf(t, 50, 0), with(generous(100), func(a *allowance) { a.room, a.tasks = 64, []bound{{16, "RLIMIT_NPROC"}} }), true,
			"restoring this takes 18 more processes and threads, and RLIMIT_NPROC allows 16"},
	} {
		t.Run(name, func(t *testing.T) {
			var said []string
			for _, err := range c.m.beyond(c.a, c.isThere) {
				said = append(said, err.Error())
			}
			if got := strings.Join(said, "\n"); got != c.want && (c.want == "" || !strings.HasPrefix(got, c.want)) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestAllowed(t *testing.T) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	a, err := allowed(false, false)
	if err != nil {
		t.Fatal(err)
	}
	if !a.descriptors(lim.Max) || a.most != lim.Max || a.room <= 0 || uint64(a.room) >= lim.Cur {
		t.Errorf("with limits %v: %+v", lim, a)
	}
	// Without CAP_SYS_ADMIN the system's bound holds.
	left, err := filesLeft(&proc.Status{}, false)
	most, err2 := filesLeft(&proc.Status{}, true)
	if err != nil || err2 != nil || left <= 0 || left >= most {
		t.Errorf("files: %d of %d, %v, %v", left, most, err, err2)
	}
	// Root may have as many processes as the system allows.
	free, err := tasksLeft(&proc.Status{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range free {
		if b.what == "RLIMIT_NPROC" {
			t.Errorf("root is bound by %v", b)
		}
	}
}

package judge

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/stream"
	"ckpt/stream/record"
)

// TestUsersOrder: whose rights count is the same each time.
func TestUsersOrder(t *testing.T) {
	const inode = 99
	var people []person
	for i := range 8 {
		people = append(people, person{pid: 10 + i, ppid: 10, sid: 10})
	}
	people[0].ppid = 1
	m := modelOf(people...)
	m.Defined, m.Spaces = map[uint64]*stream.Record{}, map[uint64]*Space{}
	rec := func(typ record.Type, meta any) *stream.Record {
		r, err := stream.New(typ, meta)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for i, task := range m.Tasks {
		th, one := task.Threads[0], []uint32{1000, 1000, 1000, 1000}
		c := &record.Creds{PID: task.PID, TID: task.PID, UID: one, GID: one, Eff: 1 << i} // none has fewer rights than another
		th.Resources = map[record.Type]*stream.Record{record.TypeCreds: rec(record.TypeCreds, c)}
		m.Defined[th.Refs.MM], m.Spaces[th.Refs.MM] = rec(record.TypeMM, &record.MM{}), &Space{}
		m.Defined[th.Refs.Files] = rec(record.TypeSigactions, &record.Sigactions{})
		m.Defined[th.Refs.FS] = rec(record.TypeFS, &record.FS{Refs: record.FSRefs{Cwd: inode}})
	}
	seen := map[string]bool{}
	for range 50 {
		seen[fmt.Sprint(m.users()[inode].PID)] = true
	}
	if len(seen) != 1 {
		t.Errorf("%v", seen)
	}
}

// TestManyTables: the names of the processes whose tables are too large are found in time
// proportional to their number.
func TestManyTables(t *testing.T) {
	const n = 30_000
	m := &Model{ByTID: map[int]*Thread{}, Tables: map[uint64]*Table{}}
	for i := range n {
		ref := uint64(i + 1)
		m.ByTID[i+2] = &Thread{Thread: record.Thread{TID: i + 2, Comm: "many", Refs: record.ThreadRefs{Files: ref}}}
		m.Tables[ref] = &Table{FDs: []record.FD{{FD: 500}}}
	}
	var errs []error
	if over := cost(func() { errs = m.beyond(generous(100), true) }); over != nil || len(errs) != n {
		t.Errorf("%d errors: %v", len(errs), over)
	}
	if want := "pid 2 (many) has descriptor number 500,"; !strings.HasPrefix(errs[0].Error(), want) {
		t.Errorf("%v, not %s", errs[0], want)
	}
}

// TestOrdinary: whether a process of the image is root's.
func TestOrdinary(t *testing.T) {
	with := func(uids []uint32, prm uint64, zombie bool) *Model {
		m := modelOf(person{pid: 10, ppid: 1, sid: 10}, person{pid: 11, ppid: 10, sid: 10})
		for i, c := range []*record.Creds{{UID: []uint32{7, 7, 7, 7}, GID: []uint32{8, 8, 8, 8}}, {UID: uids, GID: []uint32{9, 9, 9, 9}, Groups: []uint32{3}, Prm: prm}} {
			rec, err := stream.New(record.TypeCreds, c)
			if err != nil {
				t.Fatal(err)
			}
			m.Tasks[i].Threads[0].Resources = map[record.Type]*stream.Record{record.TypeCreds: rec}
		}
		m.Tasks[1].Zombie = zombie
		return m
	}
	for _, c := range []struct {
		uids   []uint32
		prm    uint64
		zombie bool
		want   string // users and groups
	}{
		{[]uint32{7, 7, 7, 7}, 0, false, "7 8 [] 7 9 [3]"},
		{[]uint32{5, 6, 5, 6}, 1 << unix.CAP_NET_RAW, false, "7 8 [] 6 9 [3]"},
		{[]uint32{7, 7, 0, 7}, 0, false, ""},
		{[]uint32{7, 7, 7, 7}, 1 << unix.CAP_SYS_ADMIN, false, ""},
		{[]uint32{0, 0, 0, 0}, 1 << unix.CAP_SYS_ADMIN, true, "7 8 []"},
		{[]uint32{0}, 0, false, "7 8 [] 65534 65534 []"}, // no credentials
	} {
		got := ""
		for _, id := range with(c.uids, c.prm, c.zombie).Ordinary() {
			got += fmt.Sprint(" ", id.UID, " ", id.GID, " ", id.Groups)
		}
		if got = strings.TrimSpace(got); got != c.want {
			t.Errorf("%v: %q", c, got)
		}
	}
}

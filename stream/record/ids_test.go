package record_test

import (
	"encoding/binary"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ckpt/stream/record"
)

// TestEachID: the ids of a record are found, wherever they are, and can be replaced.
func TestEachID(t *testing.T) {
	siginfo := func(signo, code, pid int32) []byte {
		b := make([]byte, 128)
		binary.LittleEndian.PutUint32(b, uint32(signo))
		binary.LittleEndian.PutUint32(b[8:], uint32(code))
		binary.LittleEndian.PutUint32(b[16:], uint32(pid))
		return b
	}
	clock := func(id, which int) int { return ^id<<3 | which }
	for name, c := range map[string]struct {
		meta, want any
		ids        []int
	}{
		"a task":   {&record.Task{PID: 7, PPID: 0, PGID: 9, SID: 8, StartTime: 7}, &record.Task{PID: 107, PPID: 100, PGID: 109, SID: 108, TPGID: 100, StartTime: 7, UsualPID: 100}, []int{7, 0, 9, 8, 0, 0}},
		"an owner": {&record.File{Owner: &record.Owner{Type: 2, PID: 7}}, &record.File{Owner: &record.Owner{Type: 2, PID: 107}}, []int{7}},
		"none":     {&record.File{}, &record.File{}, nil},
		"clocks": {&record.Timers{PID: 7, Timers: []record.Timer{{Clock: clock(7, 2), TID: 9}, {Clock: clock(9, 6)}, {Clock: clock(0, 2)}, {Clock: clock(3, 3)}, {Clock: 1}}},
			&record.Timers{PID: 107, Timers: []record.Timer{{Clock: clock(107, 2), TID: 109}, {Clock: clock(109, 6), TID: 100}, {Clock: clock(0, 2), TID: 100}, {Clock: clock(3, 3), TID: 100}, {Clock: 1, TID: 100}}},
			[]int{7, 7, 9, 9, 0, 0, 0, 0}},
		"senders": {&record.Signals{PID: 7, TID: 9, Pending: [][]byte{siginfo(10, 0, 8), siginfo(17, 1, 9), siginfo(10, 1, 9)}, Shared: [][]byte{siginfo(34, -1, 7), siginfo(14, 0x80, 7), nil, siginfo(10, -6, 0)}},
			&record.Signals{PID: 107, TID: 109, Pending: [][]byte{siginfo(10, 0, 108), siginfo(17, 1, 109), siginfo(10, 1, 9)}, Shared: [][]byte{siginfo(34, -1, 107), siginfo(14, 0x80, 7), nil, siginfo(10, -6, 100)}},
			[]int{7, 9, 8, 9, 7, 0}},
		"a path":            {&record.ProcFile{Path: "/proc/7/task/9/comm"}, &record.ProcFile{Path: "/proc/107/task/109/comm"}, []int{7, 9}},
		"a process's":       {&record.ProcFile{Path: "/proc/7/fdinfo/9"}, &record.ProcFile{Path: "/proc/107/fdinfo/9"}, []int{7}},
		"a path of none":    {&record.ProcFile{Path: "/proc/sys/7/task/9"}, &record.ProcFile{Path: "/proc/sys/7/task/9"}, nil},
		"an array's":        {&record.SockData{Creds: []record.SockCreds{{Count: 7, PID: 8, UID: 9}}}, &record.SockData{Creds: []record.SockCreds{{Count: 7, PID: 108, UID: 9}}}, []int{8}},
		"threads of groups": {&record.Cgroups{PID: 7, Threads: []record.ThreadCgroups{{TID: 8}}}, &record.Cgroups{PID: 107, Threads: []record.ThreadCgroups{{TID: 108}}}, []int{7, 8}},
	} {
		t.Run(name, func(t *testing.T) {
			var ids []int
			record.EachID(c.meta, func(id record.ID) {
				ids = append(ids, id.Get())
				id.Set(id.Get() + 100)
			})
			if !slices.Equal(ids, c.ids) || !reflect.DeepEqual(c.meta, c.want) {
				t.Errorf("ids %v, want %v; now %+v, want %+v", ids, c.ids, c.meta, c.want)
			}
		})
	}
}

// TestIDsMarked: a field whose name is that of an id has the range of ids.
func TestIDsMarked(t *testing.T) {
	var look func(typ reflect.Type)
	seen := map[reflect.Type]bool{}
	look = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			f := typ.Field(i)
			look(f.Type)
			isID := strings.HasSuffix(f.Name, "PID") || strings.HasSuffix(f.Name, "TID") || strings.HasSuffix(f.Name, "SID") || strings.HasSuffix(f.Name, "PGID")
			if r := f.Tag.Get("range"); isID && f.Type.Kind() == reflect.Int && r != "pid" && r != "pid or 0" {
				t.Errorf("%s.%s has the range %q", typ.Name(), f.Name, r)
			}
		}
	}
	for _, info := range record.Types() {
		look(info.Meta)
	}
}

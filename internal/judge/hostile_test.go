package judge

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/stream"
	"ckpt/stream/record"
)

// change is a difference of a hostile stream from the example: the n-th record of a
// type has other fields.
type change struct {
	typ    record.Type
	n      int
	fields map[string]any
	refs   map[string]uint64
}

// changed returns the example with a change.
func changed(t *testing.T, c change) []*stream.Record {
	recs := example(t)
	for i, rec := range recs {
		if rec.Type != c.typ {
			continue
		}
		if c.n--; c.n >= 0 {
			continue
		}
		next := *rec
		if err := next.Set(c.fields); err != nil {
			t.Fatal(err)
		}
		var m struct {
			Refs map[string]uint64 `cbor:"refs"`
		}
		if err := next.Decode(&m); err != nil {
			t.Fatal(err)
		}
		for name, ref := range c.refs {
			m.Refs[name] = ref
		}
		if c.refs != nil {
			if err := next.SetRefs(m.Refs); err != nil {
				t.Fatal(err)
			}
		}
		recs[i] = &next
		return recs
	}
	t.Fatalf("no %v", c.typ)
	return nil
}

// TestHostile: a stream that ckpt-collect can't have written is refused before anything
// is made.
func TestHostile(t *testing.T) {
	const reg, dir, mm = 1, 2, 3 // objects of the example
	for name, c := range map[string]struct {
		change
		says string
	}{
		"a descriptor of a file":           {change{record.TypeFD, 0, nil, map[string]uint64{"file": reg}}, "its file is object 1, a REG"},
		"a descriptor of nothing":          {change{record.TypeFD, 0, nil, map[string]uint64{"file": 0}}, "it has no file"},
		"a description of an MM":           {change{record.TypeFile, 0, nil, map[string]uint64{"inode": mm}}, "its inode is object 3, a MM"},
		"a folder that is a file":          {change{record.TypeFS, 0, nil, map[string]uint64{"cwd": reg}}, "its cwd is object 1, a REG"},
		"a root that is a file":            {change{record.TypeFS, 0, nil, map[string]uint64{"root": reg}}, "its root is object 1, a REG"},
		"an executable folder":             {change{record.TypeMM, 0, nil, map[string]uint64{"exe": dir}}, "its exe is object 2, a DIR"},
		"no executable":                    {change{record.TypeMM, 0, nil, map[string]uint64{"exe": 0}}, "it has no exe"},
		"a lock of a file":                 {change{record.TypeLock, 0, nil, map[string]uint64{"file": reg}}, "its file is object 1, a REG"},
		"an epoll that watches a file":     {change{record.TypeEpollTarget, 0, nil, map[string]uint64{"file": reg}}, "its file is object 1, a REG"},
		"a segment that is a file":         {change{record.TypeVMA, 3, nil, map[string]uint64{"inode": reg}}, "its inode is object 1, a REG"},
		"shared memory that is a segment":  {change{record.TypeVMA, 2, nil, map[string]uint64{"inode": 14}}, "its inode is object 14, a SYSVSHM"},
		"anonymous memory of a file":       {change{record.TypeVMA, 1, nil, map[string]uint64{"inode": reg}}, "its inode is object 1, a REG"},
		"control groups of others":         {change{record.TypeCgroups, 0, map[string]any{"threads": []record.ThreadCgroups{{TID: 1}}}, nil}, "thread 1, which belongs to another process"},
		"very many control groups":         {change{record.TypeCgroups, 0, map[string]any{"groups": make([]record.Cgroup, 1000)}, nil}, "is in 1000 control groups"},
		"ended by SIGCHLD":                 {change{record.TypeTask, 2, map[string]any{"status": int(unix.SIGCHLD)}, nil}, "has ended with status 0x11"},
		"ended by stopping":                {change{record.TypeTask, 2, map[string]any{"status": 0x137f}, nil}, "has ended with status 0x137f"},
		"ended by signal 65":               {change{record.TypeTask, 2, map[string]any{"status": 65}, nil}, "has ended with status 0x41"},
		"ended with more bits":             {change{record.TypeTask, 2, map[string]any{"status": 1 << 40}, nil}, "has ended with status 0x10000000000"},
		"a long name":                      {change{record.TypeTask, 0, map[string]any{"comm": strings.Repeat("x", 1000)}, nil}, "a name of 1000 bytes"},
		"a long name of a thread":          {change{record.TypeThread, 1, map[string]any{"comm": strings.Repeat("x", 1000)}, nil}, "a name of 1000 bytes"},
		"a long path":                      {change{record.TypeReg, 0, map[string]any{"path": "/" + strings.Repeat("x", 5000)}, nil}, "a path of 5001 bytes"},
		"a long path of a terminal":        {change{record.TypeTTY, 0, map[string]any{"path": "/" + strings.Repeat("x", 5000)}, nil}, "a path of 5001 bytes"},
		"a descriptor twice":               {change{record.TypeFD, 1, map[string]any{"fd": 0}, nil}, "occurs twice"},
		"descriptor -1":                    {change{record.TypeFD, 1, map[string]any{"fd": -1}, nil}, "descriptor -1"},
		"descriptor 2^31":                  {change{record.TypeFD, 1, map[string]any{"fd": 1 << 31}, nil}, "descriptor 2147483648"},
		"a lock of no kind":                {change{record.TypeLock, 0, map[string]any{"kind": "x"}, nil}, `lock of kind "x"`},
		"a lock of -1 bytes":               {change{record.TypeLock, 0, map[string]any{"len": -1}, nil}, "of -1 bytes"},
		"an epoll's target at 2^31":        {change{record.TypeEpollTarget, 0, map[string]any{"fd": 1 << 31}, nil}, "added as descriptor 2147483648"},
		"guard pages elsewhere":            {change{record.TypeVMA, 1, map[string]any{"guards": []record.Extent{{Start: 0x1000, End: 0x2000}}}, nil}, "guard pages 1000-2000"},
		"a mapping from 2^62 on":           {change{record.TypeVMA, 0, map[string]any{"offset": 1 << 62}, nil}, "from offset 0x4000000000000000 on"},
		"vsyscall where programs are":      {change{record.TypeVMA, 4, map[string]any{"start": 0x1000, "end": 0x2000}, nil}, "outside the address space of a process"},
		"an owner with id 2^32+1":          {change{record.TypeFile, 0, map[string]any{"owner": &record.Owner{PID: 1<<32 + 1}}, nil}, "owner &{Type:0 PID:4294967297"},
		"a device that does something":     {change{record.TypeCharDev, 0, map[string]any{"rdev": unix.Mkdev(10, 130)}, nil}, "device 10:130, which keeps a state"},
		"an oom_score_adj too high":        {change{record.TypeProcAttr, 0, map[string]any{"oom_score_adj": 1001}, nil}, "an oom_score_adj of 1001"},
		"an rseq area that is crooked":     {change{record.TypeRseq, 0, map[string]any{"addr": 4100}, nil}, "an rseq area of 32 bytes at 0x1004"},
		"an action of a signal too high":   {change{record.TypeSigactions, 0, map[string]any{"actions": []record.Sigaction{{Signal: 65}}}, nil}, "an action of signal 65"},
		"an action of SIGKILL":             {change{record.TypeSigactions, 0, map[string]any{"actions": []record.Sigaction{{Signal: 9}}}, nil}, "an action of signal 9"},
		"a robust list's head too long":    {change{record.TypeUserPtrs, 0, map[string]any{"robust_list": 4096, "robust_len": 25}, nil}, "whose head has 25 bytes"},
		"an interval timer that is none":   {change{record.TypeItimers, 0, map[string]any{"timers": []record.Itimer{{Which: 3}}}, nil}, "interval timer 3"},
		"a mask of more than a file mode":  {change{record.TypeFS, 0, map[string]any{"umask": 0o1000}, nil}, "a file mode mask of 01000"},
		"an attribute nobody knows":        {change{record.TypePrctl, 0, map[string]any{"values": []record.PrctlValue{{Name: "wings", Value: 1}}}, nil}, "has the attribute \"wings\", which is not known"},
		"attributes that are none":         {change{record.TypePrctl, 0, map[string]any{"values": 7}, nil}, "PRCTL record: the stream is corrupt"},
		"signal actions that are none":     {change{record.TypeSigactions, 0, map[string]any{"actions": 7}, nil}, "SIGACTIONS record: the stream is corrupt"},
		"a first thread that was stopped":  {change{record.TypeThread, 0, map[string]any{"ended": true, "status": 0x7f}, nil}, "the first thread of pid 4000000 (root) has status 0x7f"},
		"a status of one that goes on":     {change{record.TypeThread, 0, map[string]any{"status": 256}, nil}, "the first thread of pid 4000000 (root) has status 0x100"},
		"registers of one that has ended":  {change{record.TypeThread, 0, map[string]any{"ended": true}, nil}, "thread 4000000 has ended and has a REGS record"},
		"one without those that go on":     {change{record.TypeThread, 2, map[string]any{"ended": true}, nil}, "the first thread of pid 4000002 (child) has no other thread"},
		"one with a table of its own":      {change{record.TypeThread, 0, map[string]any{"ended": true}, map[string]uint64{"files": 10}}, "has other objects than the next one"},
		"another that has ended":           {change{record.TypeThread, 1, map[string]any{"ended": true}, nil}, "thread 4000001 has ended and is not the first"},
		"vsyscall with its ends exchanged": {change{record.TypeVMA, 4, map[string]any{"end": 0x1000}, nil}, "not whole pages"},
	} {
		t.Run(name, func(t *testing.T) {
			err := judgeAll(t, pack(t, changed(t, c.change)))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, not %q", err, c.says)
			}
		})
	}
}

// forest is the model of many processes that share everything; those from 1000000 on
// are zombies.
func forest(t *testing.T, people func(add func(pid, ppid, sid, pgid int, outside bool))) *Model {
	m := New(&record.Header{})
	put := func(typ record.Type, meta any) {
		rec, err := stream.New(typ, meta)
		if err == nil {
			err = m.Add(rec)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	object := func(ref uint64) record.Object { return record.Object{Objref: ref} }
	put(record.TypeReg, &record.Reg{Object: object(1)})
	put(record.TypeDir, &record.Dir{Object: object(2)})
	put(record.TypeMM, &record.MM{Object: object(3), Refs: record.ExeRef{Exe: 1}})
	put(record.TypeSigactions, &record.Sigactions{Object: object(4)})
	put(record.TypeFDTable, &record.FDTable{Object: object(5)})
	put(record.TypeFS, &record.FS{Object: object(6), Refs: record.FSRefs{Cwd: 2}})
	people(func(pid, ppid, sid, pgid int, outside bool) {
		zombie := pid >= 1000000
		put(record.TypeTask, &record.Task{PID: pid, PPID: ppid, SID: sid, PGID: pgid, PGIDOutside: outside, Zombie: zombie, ExitSignal: int(unix.SIGCHLD)})
		if zombie {
			return
		}
		put(record.TypeThread, &record.Thread{PID: pid, TID: pid, Refs: record.ThreadRefs{MM: 3, Sighand: 4, Files: 5, FS: 6}})
	})
	return m
}

// TestEffort: planning does not take time in proportion to the square of the stream.
func TestEffort(t *testing.T) {
	const many = 5000
	for name, c := range map[string]struct {
		people   func(add func(pid, ppid, sid, pgid int, outside bool))
		says     string // "" if it can be planned
		mostLook int
	}{
		"each child in a session of its own, whose leader has ended": {func(add func(int, int, int, int, bool)) {
			add(10, 1, 10, 10, false)
			for i := range many {
				add(100+i, 10, 1000000+i, 1000000+i, false)
			}
		}, "", 10 * many},
		"each child in a group of its own, whose leader is elsewhere": {func(add func(int, int, int, int, bool)) {
			add(10, 1, 10, 10, false)
			for i := range many {
				add(100+i, 10, 10+i&1, 1000000+i, true)
			}
		}, "", 10 * many},
		"children in the session of a descendant far below": {func(add func(int, int, int, int, bool)) {
			add(10, 1, 10, 10, false)
			add(100, 10, 10, 10, false)
			for i := range many / 2 {
				add(101+i, 100+i, 10, 10, false)
			}
			add(99, 100+many/2, 99, 99, false)
			for i := range many / 2 {
				add(1000000+i, 10, 99, 99, false)
			}
		}, "too intricate", 10 * many},
		"children in the sessions of each other's children": {func(add func(int, int, int, int, bool)) {
			add(10, 1, 10, 10, false)
			for i := range many {
				add(100+i, 10, 1000000, 1000000, false)
			}
			for i := range many {
				add(100000+i, 100+i, 200000+i%7, 200000+i%7, false)
			}
		}, "never was, and no process", 10 * many},
	} {
		m := forest(t, c.people)
		m.assignSessions(sessionPolicy{note: func(string, ...any) {}})
		p := makePlan(m)
		if err := errors.Join(p.errs...); (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) || p.effort > c.mostLook {
			t.Errorf("%s: %d looks, %.1000v", name, p.effort, p.errs)
		}
	}
}

// TestMemory: the reasons take no more memory than the size of the stream justifies,
// and what is kept of the stream counts.
func TestMemory(t *testing.T) {
	long := strings.Repeat("x", 1<<19)
	guards := changed(t, change{record.TypeVMA, 1, map[string]any{"guards": make([]any, 1<<19)}, nil})
	for name, recs := range map[string][]*stream.Record{
		"a long name and many threads without what they need": func() []*stream.Record {
			recs := changed(t, change{record.TypeThread, 0, map[string]any{"comm": long}, nil})
			for i := range 5000 {
				recs = slices.Insert(recs, len(recs)-2, many(t, record.TypeThread, &record.Thread{PID: firstPID, TID: firstPID + 10 + i, Refs: record.ThreadRefs{MM: 3, Sighand: 4, FS: 5, Files: 6}}))
			}
			return recs
		}(),
		"a terminal with a long path and many descriptors": func() []*stream.Record {
			recs := []*stream.Record{example(t)[0], many(t, record.TypeTTY, &record.TTY{Object: record.Object{Objref: 1000}, Stat: record.Stat{Path: "/" + long}}),
				many(t, record.TypeFDTable, &record.FDTable{Object: record.Object{Objref: 1001}})}
			for i := range 4000 {
				ref := uint64(2000 + i)
				recs = append(recs, many(t, record.TypeFile, &record.File{Object: record.Object{Objref: ref}, Refs: record.InodeRef{Inode: 1000}}),
					many(t, record.TypeFD, &record.FD{FD: i, Refs: record.FDRefs{Of: 1001, File: ref}}))
			}
			return append(recs, example(t)[1:]...)
		}(),
		"guard pages of one byte each": guards,
	} {
		b := pack(t, recs)
		if b == nil {
			t.Fatalf("%s: too long", name)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := judgeAll(t, b)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; err == nil || n > maxAllocated {
			t.Errorf("%s: %d MiB, %.1000v", name, n>>20, err)
		}
	}
	m := New(&record.Header{})
	for _, rec := range guards[1:] {
		if err := m.Add(rec); err != nil {
			t.Fatal(err)
		}
	}
	if m.Bytes < 16<<19 {
		t.Errorf("%d bytes", m.Bytes)
	}
}

func many(t *testing.T, typ record.Type, meta any) *stream.Record {
	rec, err := stream.New(typ, meta)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

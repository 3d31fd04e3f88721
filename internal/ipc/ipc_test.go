package ipc

import (
	"errors"
	"strings"
	"testing"

	"ckpt/internal/object"
	"ckpt/internal/testkit"
	"ckpt/stream"
	"ckpt/stream/record"
)

// TestCheck: what a stream may say of an IPC namespace, and what not.
func TestCheck(t *testing.T) {
	sem := func(change func(s *record.SemSet)) *stream.Record {
		s := &record.SemSet{Object: record.Object{Objref: 1}, SemID: 3, Key: 5, Mode: 0o600, Values: []uint16{1, 32767}, Last: []int{0, 7}}
		change(s)
		return testkit.Must(stream.New(record.TypeSemSet, s))(t)
	}
	msg := func(change func(q *record.MsgQueue)) *stream.Record {
		q := &record.MsgQueue{Object: record.Object{Objref: 1}, MsgID: 3, Key: 5, Mode: 0o600, MaxBytes: 100, Messages: 5}
		change(q)
		return testkit.Must(stream.New(record.TypeMsgQueue, q))(t)
	}
	good := []*stream.Record{sem(func(*record.SemSet) {}), msg(func(*record.MsgQueue) {}), sem(func(s *record.SemSet) { s.SemID, s.Key = 1<<31-1, 0 }),
		sem(func(s *record.SemSet) { s.SemID, s.Key, s.Last = 4, 0, nil }), msg(func(q *record.MsgQueue) { q.MsgID, q.Key, q.MaxBytes, q.Messages = 0, 0, maxID, maxMsgs })}
	check(t, true, good, "")
	check(t, false, good[:1], "without an IPC namespace")
	for what, rec := range map[string]*stream.Record{
		"mode 01600":                    sem(func(s *record.SemSet) { s.Mode = 0o1600 }),
		"a set of semaphores -1":        sem(func(s *record.SemSet) { s.SemID = -1 }),
		"a set of semaphores 214748364": sem(func(s *record.SemSet) { s.SemID = 1 << 31 }),
		"set 3 of 0":                    sem(func(s *record.SemSet) { s.Values = nil }),
		"of which 3 were changed":       sem(func(s *record.SemSet) { s.Last = make([]int, 3) }),
		"semaphore 0 of set 3 is 32768": sem(func(s *record.SemSet) { s.Values[0] = 32768 }),
		"a message queue -5":            msg(func(q *record.MsgQueue) { q.MsgID = -5 }),
		"for 2147483648 bytes":          msg(func(q *record.MsgQueue) { q.MaxBytes = 1 << 31 }),
		"with 65537 messages":           msg(func(q *record.MsgQueue) { q.Messages = maxMsgs + 1 }),
	} {
		check(t, true, []*stream.Record{rec}, what)
	}
	check(t, true, []*stream.Record{good[0], sem(func(s *record.SemSet) { s.SemID = 9 })}, "a set of semaphores 9 with key 0x5 occurs twice")
	check(t, true, []*stream.Record{good[1], msg(func(q *record.MsgQueue) { q.Key = 0 })}, "a message queue 3 with key 0x0 occurs twice")
}

// check checks records and expects an error that says so, "" for none.
func check(t *testing.T, own bool, recs []*stream.Record, want string) {
	t.Helper()
	var errs []error
	kinds := Kinds(&object.Restart{OwnIPC: own, Paper: true})
	for _, rec := range recs {
		for _, k := range kinds {
			if k.Type == rec.Type {
				errs = append(errs, k.Check(rec)...)
			}
		}
	}
	err := errors.Join(errs...)
	if want == "" && err != nil || want != "" && (!errors.Is(err, stream.ErrCorrupt) || !strings.Contains(err.Error(), want)) {
		t.Errorf("%q: %v", want, err)
	}
}

func TestCheckSysctls(t *testing.T) {
	all := testkit.Must(ReadSysctls())(t)
	if len(all) != len(sysctls) {
		t.Errorf("%d settings", len(all))
	}
	if errs := CheckSysctls(all); len(errs) > 0 {
		t.Error(errs)
	}
	for _, bad := range [][]record.Sysctl{{{Name: "kernel/core_pattern", Values: []uint64{1}}}, {{Name: "kernel/sem", Values: []uint64{1, 2, 3}}}, {all[0], all[0]}, {{}}} {
		if errs := CheckSysctls(bad); len(errs) == 0 {
			t.Errorf("%v passes", bad)
		}
	}
}

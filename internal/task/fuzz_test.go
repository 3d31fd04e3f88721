package task

import (
	"encoding/binary"
	"os"
	"reflect"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

// FuzzCheck: whatever is in a record, each resource accepts or refuses it, quickly
// and with little more memory than the record takes.
func FuzzCheck(f *testing.F) {
	good := map[record.Type]any{
		record.TypeMM:         &record.MM{PID: 7, Auxv: make([]byte, 16), Membarrier: 1 << 4, LDT: make([]byte, 8), LockFuture: 2},
		record.TypeCreds:      &record.Creds{UID: make([]uint32, 4), GID: make([]uint32, 4), Groups: []uint32{1}, Dumpable: 2},
		record.TypeLimits:     &record.Limits{Limits: make([]record.Limit, 16)},
		record.TypeSched:      &record.Sched{Attr: make([]byte, binary.Size(unix.SchedAttr{})), Affinity: []byte{3}, NUMA: &record.MemPolicy{Mode: 1, Nodes: []byte{1}}},
		record.TypeSigactions: &record.Sigactions{Actions: []record.Sigaction{{Signal: 10}}},
		record.TypeSignals:    &record.Signals{Pending: [][]byte{make([]byte, abi.SiginfoBytes)}, Shared: [][]byte{{}}},
		record.TypeRegs:       &record.Regs{GP: make([]byte, 27*8), XState: []byte{1}, Left: new(int64)},
		record.TypeTimers:     &record.Timers{Timers: []record.Timer{{ID: 1, Clock: -6, Notify: 4, TID: 7}, {ID: 2}}},
		record.TypeSeccomp:    &record.Seccomp{Mode: 2, Filters: []record.SeccompFilter{{Program: make([]byte, 16)}}, Common: 1},
		record.TypeCgroups:    &record.Cgroups{Groups: []record.Cgroup{{Path: []byte("/a")}}, Threads: []record.ThreadCgroups{{TID: 8}}},
		record.TypeSemUndo:    &record.SemUndo{Adjust: []record.SemAdjust{{Set: 1, Sems: 2, Num: 1, Adjust: -1}}},
		record.TypeItimers:    &record.Itimers{Timers: []record.Itimer{{Which: 2, ValueUS: 5}}},
	}
	for i := range Resources {
		typ := Resources[i].Type
		for _, v := range []any{record.Lookup(typ).New(), good[typ]} {
			if v == nil {
				continue
			}
			meta, err := stream.Marshal(v)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(byte(i), meta)
		}
	}
	f.Fuzz(func(t *testing.T, which byte, meta []byte) {
		r := &Resources[int(which)%len(Resources)]
		rec := &stream.Record{Type: r.Type, Meta: meta}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begin := time.Now()
		judgeRecord(t, r, rec)
		took := time.Since(begin)
		runtime.ReadMemStats(&after)
		const most, longest = 16 << 20, 10 * time.Second // a machine may be busy
		if n := after.TotalAlloc - before.TotalAlloc; n > most+uint64(200*len(meta)) || took > longest {
			t.Fatalf("%v of %d bytes takes %d bytes of memory and %v", r.Type, len(meta), n, took)
		}
	})
}

func judgeRecord(t *testing.T, r *Resource, rec *stream.Record) {
	errs := r.Check(rec)
	if rec.Decode(record.Lookup(r.Type).New()) != nil && len(errs) == 0 {
		t.Fatal("what can't be decoded is good")
	}
	if r.Here != nil { // also called for bad records, so that everything is reported at once
		_ = r.Here(host(0), rec)
	}
	switch r.Type {
	case record.TypeCgroups:
		for _, policy := range []CgroupPolicy{CgroupsKeep, CgroupsStrict} {
			_ = CheckCgroups(rec, policy)
		}
	case record.TypeLimits:
		l, err := decode[record.Limits](rec)
		own, e := proc.ReadLimits(os.Getpid())
		if err == nil && e == nil {
			_ = tooHigh(l, &own)
		}
	case record.TypeSched:
		if s, err := decode[record.Sched](rec); err == nil && len(errs) == 0 {
			if attr, _, err := decodeSched(s); err != nil || reflect.DeepEqual(attr, nil) {
				t.Fatalf("good scheduling attributes: %v", err)
			}
		}
	}
}

// TestTooManyLimits: a record with more limits than there are is refused, but those
// that exist are still compared with ours.
func TestTooManyLimits(t *testing.T) {
	own, err := proc.ReadLimits(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	l := &record.Limits{Limits: make([]record.Limit, len(own)+1)}
	l.Limits[0].Hard = unix.RLIM_INFINITY
	l.Limits[len(own)].Hard = unix.RLIM_INFINITY
	own[0].Hard = 1
	if errs := tooHigh(l, &own); len(errs) != 1 {
		t.Error(errs)
	}
	rec, err := stream.New(record.TypeLimits, l)
	if err != nil || len(limits.Check(rec)) != 1 {
		t.Errorf("%v, %v", err, limits.Check(rec))
	}
}

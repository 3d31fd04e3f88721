package memory

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"ckpt/internal/object"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// FuzzCheck: records of mappings and of shared memory are accepted or refused,
// whatever is in them, and those accepted can be relied on.
func FuzzCheck(f *testing.F) {
	seed := func(v ...any) {
		var metas [2][]byte
		for i := range v {
			b, err := stream.Marshal(v[i])
			if err != nil {
				f.Fatal(err)
			}
			metas[i] = b
		}
		f.Add(metas[0], metas[1])
	}
	for _, k := range kinds {
		seed(&record.VMA{Start: 0x10000, End: 0x12000, Kind: k.name, Prot: 7, VmFlags: "rd wr ex ac", Guards: []record.Extent{{Start: 0x10000, End: 0x11000}}},
			&record.VMA{Start: 0x400000, End: 0x800000, Kind: record.VMAHuge, HugePage: 2 << 20, VmFlags: "ac ht", NUMA: &record.MemPolicy{Mode: 2, Nodes: []byte{1}}})
	}
	seed(&record.VMA{Start: 1<<47 - 8192, End: 1<<47 - 4096, Kind: record.VMAAnon}, &record.VMA{Start: 1<<64 - 10<<20, End: 1<<64 - 10<<20 + 4096, Kind: record.VMAVsyscall})
	seed(&record.Shmem{Size: 4 << 20, HugePage: 2 << 20}, &record.SysVShm{ShmID: 1<<31 - 1, Key: 5, Size: 1})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begin := time.Now()
		for _, meta := range [][]byte{a, b} {
			for _, k := range Kinds(&object.Restart{}) {
				rec := &stream.Record{Type: k.Type, Meta: meta}
				if len(k.Check(rec)) == 0 && rec.Decode(record.Lookup(rec.Type).New()) != nil {
					t.Fatalf("a %v that can't be decoded is good", rec.Type)
				}
			}
		}
		var vmas []record.VMA
		for _, meta := range [][]byte{a, b} {
			var v record.VMA
			if stream.Unmarshal(meta, &v) == nil {
				vmas = append(vmas, v)
			}
		}
		checkMappings(t, vmas)
		took := time.Since(begin)
		runtime.ReadMemStats(&after)
		const most, longest = 16 << 20, 10 * time.Second // a machine may be busy
		if n := after.TotalAlloc - before.TotalAlloc; n > most+uint64(200*(len(a)+len(b))) || took > longest {
			t.Fatalf("%d and %d bytes take %d bytes of memory and %v", len(a), len(b), n, took)
		}
	})
}

func checkMappings(t *testing.T, vmas []record.VMA) {
	slices.SortFunc(vmas, func(a, b record.VMA) int {
		if a.Start < b.Start {
			return -1
		}
		return 1
	})
	for i := range vmas {
		v := &vmas[i]
		for _, f := range vmaFlags {
			if has(v, f.code) != slices.Contains(strings.Split(v.VmFlags, " "), f.code) {
				t.Fatalf("%q has %s: %v", v.VmFlags, f.code, has(v, f.code))
			}
		}
	}
	if len(Check(vmas)) > 0 {
		return
	}
	last := uint64(0)
	for _, v := range vmas {
		user := v.Kind != record.VMAVsyscall
		if v.Start >= v.End || v.Start < last || (v.Start|v.End)&pageMask != 0 || user != (v.End <= taskSize) || v.Offset+(v.End-v.Start) < v.Offset {
			t.Fatalf("%x-%x of %q at offset %x is good", v.Start, v.End, v.Kind, v.Offset)
		}
		for _, g := range v.Guards {
			if g.Start < v.Start || g.End > v.End || g.Start >= g.End {
				t.Fatalf("guard pages %x-%x of %x-%x are good", g.Start, g.End, v.Start, v.End)
			}
		}
		last = v.End
	}
	r := Restorer{vmas: vmas}
	for _, v := range vmas {
		if got := r.find(v.Start); got == nil || got.Start != v.Start || r.find(v.End-1) != got {
			t.Fatalf("the mapping at %x is not found", v.Start)
		}
	}
	r.kept = common(vmas, vmas)
	if len(r.kept) > len(vmas) {
		t.Fatalf("%d mappings have %d in common with themselves", len(vmas), len(r.kept))
	}
	for _, v := range vmas {
		for _, between := range [][2]uint64{{0, v.Start}, {0, v.Start + 1}, {v.Start, v.Start + 1}, {v.End - 1, v.End}, {v.End, v.End + 1}, {v.End, 1<<64 - 1}} {
			stays := slices.ContainsFunc(r.kept, func(k kept) bool { return k.start < between[1] && k.end > between[0] })
			if r.keepsBetween(between[0], between[1]) != stays {
				t.Fatalf("something stays between %x and %x: %v", between[0], between[1], stays)
			}
		}
	}
	const room = 1 << 20
	hole, ok := tracee.Hole(Occupied(vmas), room)
	for _, v := range vmas {
		if ok && hole.Addr < v.End && v.Start < hole.Addr+hole.Len {
			t.Fatalf("the hole at %x is in a mapping", hole.Addr)
		}
	}
}

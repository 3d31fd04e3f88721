package memory

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/testkit"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// base is where the address spaces of these tests are, spacePages how large.
const (
	base       = uint64(1 << 40)
	spacePages = 96
)

// objects that are mapped.
const (
	fileA = 1 + iota
	fileB
	shmem
)

// layout makes up mappings.
func layout(rng *rand.Rand) (vmas []record.VMA) {
	for at := rng.Uint64N(6); at < spacePages; {
		n := min(1+rng.Uint64N(12), spacePages-at)
		vmas = append(vmas, *mapping(rng, at, n))
		at += n + rng.Uint64N(4)*rng.Uint64N(2)
	}
	return vmas
}

func mapping(rng *rand.Rand, at, pages uint64) *record.VMA {
	v := &record.VMA{Start: base + at*pageBytes, End: base + (at+pages)*pageBytes, Kind: record.VMAAnon, VmFlags: "mr mw me"}
	v.Prot = []uint32{rw, rw, unix.PROT_READ, unix.PROT_NONE}[rng.UintN(4)]
	switch rng.UintN(6) {
	case 0, 1:
		v.Kind, v.Refs.Inode, v.Offset = record.VMAFile, fileA+rng.Uint64N(2), rng.Uint64N(8)*pageBytes
		if rng.UintN(2) == 0 { // so that neighbours are of the same file as a parent's
			v.Offset = v.Start - base
		}
		if v.Shared = rng.UintN(4) == 0; v.Shared {
			v.Prot, v.RW = v.Prot&unix.PROT_READ, true
		}
	case 2:
		v.Kind, v.Refs.Inode, v.Offset, v.Shared, v.RW = record.VMAShmem, shmem, v.Start-base, true, true
	}
	if !v.Shared {
		v.VmFlags += " ac"
	}
	for _, flag := range []string{"nr", "dd", "wf", "dc"} {
		if rng.UintN(10) == 0 && (flag != "wf" || v.Kind == record.VMAAnon) {
			v.VmFlags += " " + flag
		}
	}
	return v
}

// changed makes a child's mappings from its parent's: some are missing, shorter,
// longer, have another protection, or are different altogether.
func changed(rng *rand.Rand, parent []record.VMA) (vmas []record.VMA) {
	end := base
	for i := range parent {
		v := parent[i]
		switch rng.UintN(8) {
		case 0:
			continue
		case 1:
			v.Prot = []uint32{rw, unix.PROT_READ, unix.PROT_NONE}[rng.UintN(3)]
			if v.Shared && v.Kind == record.VMAFile {
				v.Prot &= unix.PROT_READ
			}
		case 2:
			v = *mapping(rng, (v.Start-base)/pageBytes, (v.End-v.Start)/pageBytes)
		case 3:
			cut := min(rng.Uint64N(4)*pageBytes, v.End-v.Start-pageBytes)
			if v.Start += cut; v.Refs.Inode != 0 {
				v.Offset += cut
			}
		case 4:
			v.End -= min(rng.Uint64N(4)*pageBytes, v.End-v.Start-pageBytes)
		case 5:
			v.End += rng.Uint64N(4) * pageBytes
		}
		if v.Start < end {
			cut := end - v.Start
			if v.Start = end; v.Start >= v.End {
				continue
			}
			if v.Refs.Inode != 0 {
				v.Offset += cut
			}
		}
		end = v.End
		vmas = append(vmas, v)
	}
	return vmas
}

// at finds the mapping of an address, the simple way.
func at(vmas []record.VMA, addr uint64) *record.VMA {
	for i := range vmas {
		if vmas[i].Start <= addr && addr < vmas[i].End {
			return &vmas[i]
		}
	}
	return nil
}

// TestCommon: which parts of a parent's mappings stay, compared page by page.
func TestCommon(t *testing.T) {
	rng := testkit.Random(t)
	some := 0
	for range 3000 {
		parent := layout(rng)
		vmas := changed(rng, parent)
		r := Restorer{vmas: vmas, kept: common(parent, vmas)}
		stays := func(addr uint64) bool {
			p, v := at(parent, addr), at(vmas, addr)
			return p != nil && v != nil && sameMapping(p, v)
		}
		for i := range uint64(spacePages + 8) {
			addr := base + i*pageBytes
			j := slices.IndexFunc(r.kept, func(k kept) bool { return k.start <= addr && addr < k.end })
			if (j >= 0) != stays(addr) {
				t.Fatalf("page %x stays: %v\n%+v\n%+v", addr, j >= 0, parent, vmas)
			}
			if j >= 0 {
				some++
				if r.kept[j].from != at(parent, addr) {
					t.Fatalf("page %x is of another mapping", addr)
				}
			}
			if v := r.find(addr); v != at(vmas, addr) {
				t.Fatalf("page %x is found in %+v", addr, v)
			}
		}
		from := base + rng.Uint64N(spacePages)*pageBytes
		to := from + (1+rng.Uint64N(20))*pageBytes
		want := false
		for addr := from; addr < to; addr += pageBytes {
			want = want || stays(addr)
		}
		if r.keepsBetween(from, to) != want {
			t.Fatalf("something stays between %x and %x: %v", from, to, !want)
		}
	}
	if some < 10_000 {
		t.Errorf("only %d pages ever stayed", some)
	}
}

// family is what a parent and its child should be, page by page.
type family struct {
	t       *testing.T
	rng     *rand.Rand
	vdso    []record.VMA
	open    func(id uint64, flags int) (*os.File, error)
	content map[uint64][]byte // of objects
}

func newFamily(t *testing.T, rng *rand.Rand) *family {
	f := &family{t: t, rng: rng, content: map[uint64][]byte{}}
	dir, paths := t.TempDir(), map[uint64]string{}
	for _, id := range []uint64{fileA, fileB, shmem} {
		for range spacePages + 16 {
			f.content[id] = append(f.content[id], page(rng)...)
		}
		if id != shmem {
			paths[id] = filepath.Join(dir, string(rune('a'+id)))
			testkit.Check(t, os.WriteFile(paths[id], f.content[id], 0o600))
		}
	}
	fd := testkit.Must(unix.MemfdCreate("shared", unix.MFD_CLOEXEC))(t)
	memfd := os.NewFile(uintptr(fd), "shared")
	t.Cleanup(func() { memfd.Close() })
	_, err := memfd.Write(f.content[shmem])
	testkit.Check(t, err)
	f.open = func(id uint64, flags int) (*os.File, error) {
		if id == shmem {
			return reopened(memfd, flags)
		}
		return os.OpenFile(paths[id], flags, 0)
	}
	return f
}

func reopened(f *os.File, flags int) (*os.File, error) {
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), flags, 0)
}

// own makes up pages of a process's own, in private mappings, one in so many.
func (f *family) own(vmas []record.VMA, oneIn uint, but map[uint64][]byte) map[uint64][]byte {
	pages := map[uint64][]byte{}
	for i := range uint64(spacePages + 8) {
		addr := base + i*pageBytes
		if v := at(vmas, addr); v != nil && !v.Shared && but[addr] == nil && f.rng.UintN(oneIn) == 0 {
			pages[addr] = page(f.rng)
		}
	}
	return pages
}

// fill gives a process its pages, by PAGES records.
func (f *family) fill(r *Restorer, pages map[uint64][]byte) {
	f.t.Helper()
	var ranges []record.Extent
	var data []byte
	for _, addr := range sorted(pages) {
		if n := len(ranges); n > 0 && ranges[n-1].End == addr && at(r.vmas, addr) == at(r.vmas, addr-1) {
			ranges[n-1].End += pageBytes
		} else {
			ranges = append(ranges, record.Extent{Start: addr, End: addr + pageBytes})
		}
		data = append(data, pages[addr]...)
	}
	in := source(f.t, func(w *stream.Writer) error {
		for len(ranges) > 0 { // in several records
			n := min(1+f.rng.IntN(8), len(ranges))
			rec := testkit.Must(stream.New(record.TypePages, &record.Pages{Extents: ranges[:n]}))(f.t)
			for _, e := range ranges[:n] {
				rec.DataLen += int64(e.End - e.Start)
			}
			if err := w.Write(rec, io.LimitReader(bytes.NewReader(data), rec.DataLen)); err != nil {
				return err
			}
			ranges, data = ranges[n:], data[rec.DataLen:]
		}
		return nil
	})
	for rec := testkit.Must(in.Next())(f.t); rec.Type != record.TypeEnd; rec = testkit.Must(in.Next())(f.t) {
		testkit.Check(f.t, r.Fill(rec, in))
	}
}

func sorted(pages map[uint64][]byte) (all []uint64) {
	for addr := range pages {
		all = append(all, addr)
	}
	slices.Sort(all)
	return all
}

// inherit picks pages of the parent that the child inherits, and tells its restorer.
func (f *family) inherit(r *Restorer, parent map[uint64][]byte) map[uint64][]byte {
	f.t.Helper()
	pages := map[uint64][]byte{}
	var ranges []record.Extent
	for _, addr := range sorted(parent) {
		v := at(r.vmas, addr)
		if v == nil || v.Shared || f.rng.UintN(2) == 0 {
			continue
		}
		pages[addr] = parent[addr]
		if n := len(ranges); n > 0 && ranges[n-1].End == addr && at(r.vmas, addr) == at(r.vmas, addr-1) {
			ranges[n-1].End += pageBytes
		} else {
			ranges = append(ranges, record.Extent{Start: addr, End: addr + pageBytes})
		}
	}
	for len(ranges) > 0 {
		n := min(1+f.rng.IntN(8), len(ranges))
		testkit.Check(f.t, r.Inherit(testkit.Must(stream.New(record.TypeInherit, &record.Inherit{Extents: ranges[:n]}))(f.t)))
		ranges = ranges[n:]
	}
	return pages
}

// judge compares a process with what it should be.
func (f *family) judge(who string, pid int, vmas []record.VMA, pages map[uint64][]byte) {
	f.t.Helper()
	maps := testkit.Must(proc.ReadMappings(pid))(f.t)
	for i := range uint64(spacePages + 8) {
		addr := base + i*pageBytes
		v := at(vmas, addr)
		j := slices.IndexFunc(maps, func(m proc.Mapping) bool { return m.Start <= addr && addr < m.End })
		if (v == nil) != (j < 0) {
			f.t.Fatalf("%s: page %x is mapped: %v", who, addr, j >= 0)
		}
		if v == nil {
			continue
		}
		m := &maps[j]
		offset := v.Offset + addr - v.Start
		if uint32(m.Prot) != v.Prot || m.Shared != v.Shared || v.Refs.Inode != 0 && m.Offset+addr-m.Start != offset {
			f.t.Fatalf("%s: page %x is of %+v, not %+v", who, addr, m, v)
		}
		for _, flag := range vmaFlags {
			if flag.lasting && has(v, flag.code) != m.VmFlags.Has(flag.code) && flag.code != flagAccounted { // of what can be written it is always there
				f.t.Fatalf("%s: page %x has %s, not %s", who, addr, m.VmFlags, v.VmFlags)
			}
		}
		want := pages[addr]
		if want == nil && v.Refs.Inode != 0 {
			want = f.content[v.Refs.Inode][offset : offset+pageBytes]
		}
		if want == nil {
			want = make([]byte, pageBytes)
		}
		if got := get(f.t, pid, addr); !bytes.Equal(got, want) {
			f.t.Fatalf("%s: page %x of %+v is another: %d bytes, %x, not %x", who, addr, v, len(got), head(got), head(want))
		}
	}
}

func head(b []byte) []byte { return b[:min(len(b), 4)] }

// TestInheritance: a child with random mappings, forked from a parent with random
// mappings, has its pages: those that it inherits, its own, and no others of its
// parent.
func TestInheritance(t *testing.T) {
	rng := testkit.Random(t)
	for round := range 25 {
		f := newFamily(t, rng)
		p := newPuppet(t, tracee.Range{Addr: base, Len: (spacePages + 16) * pageBytes})
		for _, v := range describe(t, p).vmas {
			if v.Kind == record.VMAVDSO || v.Kind == record.VMAVVar {
				f.vdso = append(f.vdso, v)
			}
		}
		parent, vmas := layout(rng), []record.VMA(nil)
		vmas = changed(rng, parent)
		r := &Restorer{PID: p.Tracee().PID, Puppet: p, Open: f.open, Note: t.Logf}
		testkit.Check(t, r.Map(slices.Concat(parent, f.vdso)))
		pages := f.own(parent, 2, nil)
		f.fill(r, pages)
		testkit.Check(t, r.Filled(true))

		c := child(t, p)
		rc := &Restorer{PID: c.Tracee().PID, Puppet: c, Open: f.open, Note: t.Logf}
		if forked := round%5 > 0; forked {
			testkit.Check(t, rc.MapForked(r, slices.Concat(vmas, f.vdso)))
		} else { // a child of somebody else: what it inherits is copied
			testkit.Check(t, rc.Map(slices.Concat(vmas, f.vdso)))
			rc.CopyFrom(r)
		}
		its := f.inherit(rc, pages)
		own := f.own(vmas, 4, its)
		f.fill(rc, own)
		for addr, b := range own {
			its[addr] = b
		}
		testkit.Check(t, rc.Filled(true))
		testkit.Check(t, r.Finish())
		testkit.Check(t, rc.Finish())
		f.judge("parent", r.PID, parent, pages)
		f.judge("child", rc.PID, vmas, its)
		testkit.Check(t, c.Tracee().Kill())
		testkit.Check(t, p.Tracee().Kill())
	}
}

// TestInheritHostile: what a child can't inherit is refused.
func TestInheritHostile(t *testing.T) {
	r := Restorer{parent: &Restorer{}, vmas: []record.VMA{
		{Start: base, End: base + 4*pageBytes, Kind: record.VMAAnon},
		{Start: base + 8*pageBytes, End: base + 12*pageBytes, Kind: record.VMAAnon, Shared: true},
		{Start: base + 16*pageBytes, End: base + 20*pageBytes, Kind: record.VMAVDSO}}}
	for name, e := range map[string]record.Extent{
		"nowhere":      {Start: base + 5*pageBytes, End: base + 6*pageBytes},
		"half a page":  {Start: base, End: base + 100},
		"empty":        {Start: base, End: base},
		"backwards":    {Start: base + pageBytes, End: base},
		"over the end": {Start: base + 3*pageBytes, End: base + 5*pageBytes},
		"shared":       {Start: base + 8*pageBytes, End: base + 9*pageBytes},
		"the vdso":     {Start: base + 16*pageBytes, End: base + 17*pageBytes},
	} {
		rec := testkit.Must(stream.New(record.TypeInherit, &record.Inherit{Extents: []record.Extent{e}}))(t)
		if err := r.Inherit(rec); err == nil {
			t.Errorf("%s is inherited", name)
		}
	}
	r.cursor = base + 2*pageBytes // these were handled before
	rec := testkit.Must(stream.New(record.TypeInherit, &record.Inherit{Extents: []record.Extent{{Start: base + pageBytes, End: base + 2*pageBytes}}}))(t)
	if err := r.Inherit(rec); err == nil {
		t.Error("pages that do not ascend are inherited")
	}
}

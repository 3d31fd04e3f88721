package memory

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/internal/puppet"
	"ckpt/internal/testkit"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// described is an address space as Collect describes it, and what it refers to.
type described struct {
	vmas    []record.VMA
	pages   []tracee.Range
	blocked []string
	links   map[uint64]string         // of files, by number
	objects map[uint64]*stream.Record // shared memory, by number
	content map[uint64]string         // where its bytes are
}

// describe collects a puppet's address space.
func describe(t testing.TB, p *puppet.Puppet) *described {
	t.Helper()
	d := &described{links: map[uint64]string{}, objects: map[uint64]*stream.Record{}, content: map[uint64]string{}}
	last := uint64(0)
	next := func() uint64 { last++; return last }
	c := &Collector{
		Tail: func(uint64, string, string) {},
		PID:  p.Tracee().PID, At: p.Tracee().TID, ID: 1000, NewID: next, Loan: p, Known: map[Mapped]uint64{},
		Emit: func(typ record.Type, meta any) error {
			if v, ok := meta.(*record.VMA); ok {
				d.vmas = append(d.vmas, *v)
				return nil
			}
			rec, err := stream.New(typ, meta)
			d.objects[last] = rec
			return err
		},
		DescribeMapped: func(m *proc.Mapping) (uint64, error) {
			id := next()
			path, err := os.Readlink(m.Link(p.Tracee().PID))
			d.links[id] = strings.TrimSuffix(path, " (deleted)")
			return id, err
		},
		Content: func(id uint64, _, link string) error { d.content[id] = link; return nil },
		Block:   func(reason error) { d.blocked = append(d.blocked, reason.Error()) },
	}
	maps := testkit.Must(proc.ReadMappings(p.Tracee().PID))(t)
	testkit.Check(t, c.Collect(maps))
	d.pages = c.Pages
	return d
}

// furnish gives a puppet random mappings of all kinds, with pages in them, and returns
// where they are.
func furnish(t testing.TB, p *puppet.Puppet, rng *rand.Rand) tracee.Range {
	t.Helper()
	const pages, mappings = 512, 24
	space, ok := tracee.Hole(Occupied(describe(t, p).vmas), pages*pageBytes)
	if !ok {
		t.Fatal("no room")
	}
	dir := t.TempDir()
	at := space.Addr
	for i := range mappings {
		at += pageBytes * rng.Uint64N(4)
		n := 1 + rng.Uint64N(16)
		fd, kind := nowhere, private
		switch i % 4 {
		case 1:
			kind = unix.MAP_SHARED | unix.MAP_ANONYMOUS
		case 2, 3:
			f := testkit.Must(os.Create(filepath.Join(dir, fmt.Sprint(i))))(t)
			_, err := f.Write(bytes.Repeat(page(rng), 20))
			testkit.Check(t, err)
			fd = uint64(testkit.Must(p.Give(int(f.Fd())))(t))
			f.Close()
			kind = []int{unix.MAP_PRIVATE, unix.MAP_SHARED}[i%2]
		}
		if rng.UintN(4) == 0 && kind == private {
			kind |= unix.MAP_NORESERVE
		}
		mmap(t, p, at, n*pageBytes, rw, kind, fd)
		for j := range n {
			if rng.UintN(2) == 0 {
				put(t, p, at+j*pageBytes, page(rng))
			}
		}
		prot := []uint64{rw, rw, unix.PROT_READ, unix.PROT_NONE, unix.PROT_READ | unix.PROT_EXEC}[rng.UintN(5)]
		from := rng.Uint64N(n)
		testkit.Check(t, tracee.CallOK(p, "protect", unix.SYS_MPROTECT, at+from*pageBytes, (n-from)*pageBytes, prot))
		if kind&unix.MAP_ANONYMOUS != 0 {
			advice := []uint64{unix.MADV_DONTFORK, unix.MADV_DONTDUMP, unix.MADV_SEQUENTIAL, unix.MADV_RANDOM}[rng.UintN(4)]
			testkit.Check(t, tracee.CallOK(p, "advise", unix.SYS_MADVISE, at, n*pageBytes, advice))
		}
		if kind&^unix.MAP_NORESERVE == private && rng.UintN(2) == 0 {
			_, _ = p.Call(unix.SYS_MADVISE, at, pageBytes, madvGuardInstall) // not every kernel has them
		}
		if kind == private && rng.UintN(3) == 0 {
			_, _ = p.Call(unix.SYS_MLOCK2, at, n*pageBytes, mlockOnfault)
		}
		at += n * pageBytes
	}
	return tracee.Range{Addr: space.Addr, Len: at - space.Addr}
}

func kindOfObject(r *object.Restart, typ record.Type) *object.Kind {
	kinds := Kinds(r)
	return &kinds[slices.IndexFunc(kinds, func(k object.Kind) bool { return k.Type == typ })]
}

// fill gives an object bytes.
func fill(o object.Object, at int64, b []byte) error {
	rec, err := stream.New(record.TypeContent, &record.Content{Offset: at})
	if err != nil {
		return err
	}
	rec.DataLen = int64(len(b))
	return o.Fill(rec, bytes.NewReader(b))
}

// files opens what a description refers to; shared memory is made by this package.
func files(t testing.TB, d *described) func(id uint64, flags int) (*os.File, error) {
	t.Helper()
	box := testkit.Must(depot.New(func(int) bool { return false }, 0))(t)
	t.Cleanup(func() { _ = box.Close() })
	made := map[uint64]object.Object{}
	for id, rec := range d.objects {
		made[id] = testkit.Must(kindOfObject(&object.Restart{Depot: box, Note: t.Logf}, rec.Type).Make(rec))(t)
		t.Cleanup(func() { _ = made[id].Close() })
		testkit.Check(t, fill(made[id], 0, testkit.Must(os.ReadFile(d.content[id]))(t)))
	}
	return func(id uint64, flags int) (*os.File, error) {
		if o := made[id]; o != nil {
			return o.Open(flags)
		}
		return os.OpenFile(d.links[id], flags, 0)
	}
}

// TestRestore: an address space with all kinds of mappings, rebuilt in another task,
// is the same: mappings, protection, flags, and each page.
func TestRestore(t *testing.T) {
	rng := testkit.Random(t)
	for range 3 {
		p := newPuppet(t)
		furnish(t, p, rng)
		d := describe(t, p)
		if len(d.blocked) > 0 {
			t.Fatal(d.blocked)
		}
		if errs := Check(d.vmas); len(errs) > 0 {
			t.Fatal(errs)
		}
		q := newPuppet(t, Occupied(d.vmas)...)
		r := &Restorer{PID: q.Tracee().PID, Puppet: q, Open: files(t, d), Note: t.Logf}
		testkit.Check(t, r.Map(d.vmas))
		in := source(t, func(w *stream.Writer) error {
			never := func() bool { return false }
			return (&Source{PID: p.Tracee().PID, At: p.Tracee().TID, ID: 1, ByReference: never}).Send(w, slices.Clone(d.pages))
		})
		for rec := testkit.Must(in.Next())(t); rec.Type != record.TypeEnd; rec = testkit.Must(in.Next())(t) {
			testkit.Check(t, r.Fill(rec, in))
		}
		testkit.Check(t, r.Filled(true))
		testkit.Check(t, r.Finish())
		same(t, p, q)
	}
}

// same compares two address spaces, but for the second puppet's own pages.
func same(t *testing.T, p, q *puppet.Puppet) {
	t.Helper()
	was, is := testkit.Must(proc.ReadMappings(p.Tracee().PID))(t), testkit.Must(proc.ReadMappings(q.Tracee().PID))(t)
	own := q.Own()
	is = slices.DeleteFunc(is, func(m proc.Mapping) bool { return m.Start >= own.Addr && m.Start < own.Addr+own.Len })
	if len(was) != len(is) {
		t.Fatalf("%d mappings, not %d", len(is), len(was))
	}
	for i := range was {
		a, b := was[i], is[i]
		// sd: was written to; gu: there may be guard pages; ac: see mapProt.
		flags := func(m proc.Mapping) string {
			return strings.Join(slices.DeleteFunc(m.VmFlags.List(), func(f string) bool { return f == "sd" || f == "gu" || f == "ac" && m.Anonymous == 0 }), " ")
		}
		shm := a.Shared && strings.HasSuffix(a.Path, "(deleted)") // another object
		if a.Start != b.Start || a.End != b.End || a.Prot != b.Prot || a.Shared != b.Shared || a.Offset != b.Offset || ownName(a) != ownName(b) || !shm && a.Inode != b.Inode || flags(a) != flags(b) {
			t.Fatalf("%+v\nbecame\n%+v", a, b)
		}
		if strings.HasPrefix(a.Path, "[v") {
			continue
		}
		for at := a.Start; at < a.End; at += pageBytes {
			if x, y := get(t, p.Tracee().PID, at), get(t, q.Tracee().PID, at); !bytes.Equal(x, y) {
				t.Fatalf("page %x of %s is another (%d and %d bytes)", at, a.Path, len(x), len(y))
			}
		}
	}
}

// ownName is a mapping's name; "" for names that the kernel derives from addresses in
// the task's MM record.
func ownName(m proc.Mapping) string {
	if m.Name() == "[stack]" || m.Name() == "[heap]" {
		return ""
	}
	return m.Name()
}

// TestCollect: which pages are sent, against those that were written.
func TestCollect(t *testing.T) {
	p, rng := newPuppet(t), testkit.Random(t)
	const pages = 300
	at := mmap(t, p, 0, pages*pageBytes, rw, private, nowhere)
	var want []uint64
	for i := range uint64(pages) {
		switch addr := at + i*pageBytes; rng.UintN(3) {
		case 0:
			put(t, p, addr, page(rng))
			want = append(want, addr)
		case 1:
			get(t, p.Tracee().PID, addr) // the zero page
		}
	}
	d := describe(t, p)
	got := slices.DeleteFunc(pagesOf(d.pages), func(a uint64) bool { return a < at || a >= at+pages*pageBytes })
	if !slices.Equal(got, want) {
		t.Errorf("%d pages, not %d", len(got), len(want))
	}
}

// TestObstacles: each mapping that can't be saved is refused for its own reason.
func TestObstacles(t *testing.T) {
	for flag, what := range map[proc.VmFlags]string{"rd um": "watched by userfaultfd", "rd wr ss": "a shadow stack", "io": "memory of a device"} {
		m := proc.Mapping{Start: pageBytes, End: 2 * pageBytes, VmFlags: flag}
		if got := obstacle(&m, kindOf(&m)); got != what {
			t.Errorf("%s: %q", flag, got)
		}
		vdso := proc.Mapping{Start: pageBytes, End: 2 * pageBytes, VmFlags: flag, Path: "[vdso]"}
		if got := obstacle(&vdso, kindOf(&vdso)); got != "" {
			t.Errorf("%s of the vdso: %q", flag, got)
		}
	}
	for path, what := range map[string]string{
		"/secretmem (deleted)": "secret memory (memfd_secret)", "/[aio] (deleted)": "the ring of an asynchronous I/O context (io_setup)",
		"/SYSV00000001 (deleted)": "a private mapping of System V shared memory", "socket:[77]": "memory of a socket",
		"anon_inode:[perf_event]": "memory of a special file", "[uprobes]": "for uprobes", "/bin/x": "",
	} {
		m := proc.Mapping{Start: pageBytes, End: 2 * pageBytes, Path: path, Inode: 5}
		if got := obstacle(&m, kindOf(&m)); got != what {
			t.Errorf("%s: %q", path, got)
		}
	}
	huge := proc.Mapping{Start: pageBytes, End: 2 * pageBytes, Path: "/huge/x", Inode: 5, VmFlags: "ht", KernelPageSize: 2 << 20}
	if got := obstacle(&huge, kindOf(&huge)); got != "" || hugePage(&huge) != 2<<20 {
		t.Error(got)
	}
	p := newPuppet(t)
	fd := testkit.Must(unix.MemfdSecret(0))(t)
	defer unix.Close(fd)
	testkit.Check(t, unix.Ftruncate(fd, pageBytes))
	n := testkit.Must(p.Give(fd))(t)
	mmap(t, p, 0, pageBytes, rw, unix.MAP_SHARED, uint64(n))
	d := describe(t, p)
	if len(d.blocked) != 1 || !strings.Contains(d.blocked[0], "is secret memory (memfd_secret), which can't be saved") {
		t.Error(d.blocked)
	}
}

// TestWrong: mappings that can't be made, each with its reason.
func TestWrong(t *testing.T) {
	good := record.VMA{Start: 0x10000, End: 0x20000, Kind: record.VMAAnon, Prot: 3}
	for _, c := range []struct {
		change func(v *record.VMA)
		says   string
	}{
		{func(*record.VMA) {}, ""},
		{func(v *record.VMA) { v.Kind = "x" }, `kind "x" is not known`},
		{func(v *record.VMA) { v.Start++ }, "not whole pages"},
		{func(v *record.VMA) { v.End = v.Start }, "not whole pages"},
		{func(v *record.VMA) { v.Offset = 7 }, "not whole pages"},
		{func(v *record.VMA) { v.End = 1 << 48 }, "outside the address space of a process"},
		{func(v *record.VMA) { v.Kind = record.VMAVsyscall }, "outside the address space of a process"},
		{func(v *record.VMA) { v.Start = 0x1000 }, "overlaps the one before"},
		{func(v *record.VMA) { v.Offset = maxOffset }, "from offset"},
		{func(v *record.VMA) { v.HugePage = 3 << 20 }, "pages of 3145728 bytes"},
		{func(v *record.VMA) { v.HugePage = 4096 }, "pages of 4096 bytes"},
		{func(v *record.VMA) { v.HugePage = 2 << 20 }, "pages of 2097152 bytes"},
		{func(v *record.VMA) { v.Prot = 8 }, "protection 0x8"},
		{func(v *record.VMA) { v.Guards = []record.Extent{{Start: 0x20000, End: 0x21000}} }, "guard pages 20000-21000"},
		{func(v *record.VMA) { v.NUMA = &record.MemPolicy{Mode: -1} }, "not a memory policy"},
	} {
		v := good
		c.change(&v)
		errs := Check([]record.VMA{{Start: 0x1000, End: 0x2000, Kind: record.VMAAnon}, v})
		if c.says == "" && len(errs) == 0 {
			continue
		}
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), c.says) {
			t.Errorf("%v, not %q", errs, c.says)
		}
	}
}

// TestFillHostile: pages that are not in a private mapping, or that don't match the
// number of bytes, are refused and change nothing.
func TestFillHostile(t *testing.T) {
	p := newPuppet(t)
	d := describe(t, p)
	at := tracee.Range{Addr: 1 << 40, Len: 4 * pageBytes}
	vmas := append(slices.DeleteFunc(d.vmas, func(v record.VMA) bool { return v.Kind != record.VMAVDSO && v.Kind != record.VMAVVar }),
		record.VMA{Start: at.Addr, End: at.Addr + at.Len, Kind: record.VMAAnon, Prot: rw, VmFlags: "ac"},
		record.VMA{Start: at.Addr + at.Len, End: at.Addr + 2*at.Len, Kind: record.VMAAnon, Shared: true, Prot: rw})
	slices.SortFunc(vmas, func(a, b record.VMA) int { return map[bool]int{true: -1, false: 1}[a.Start < b.Start] })
	r := &Restorer{PID: p.Tracee().PID, Puppet: p, vmas: vmas, in: -1}
	for name, c := range map[string]struct {
		extents []record.Extent
		data    int64
	}{
		"nowhere":        {[]record.Extent{{Start: 1 << 30, End: 1<<30 + pageBytes}}, pageBytes},
		"half a page":    {[]record.Extent{{Start: at.Addr, End: at.Addr + 2048}}, 2048},
		"backwards":      {[]record.Extent{{Start: at.Addr + pageBytes, End: at.Addr}}, 0},
		"over the end":   {[]record.Extent{{Start: at.Addr + 3*pageBytes, End: at.Addr + 5*pageBytes}}, 2 * pageBytes},
		"shared":         {[]record.Extent{{Start: at.Addr + at.Len, End: at.Addr + at.Len + pageBytes}}, pageBytes},
		"the vdso":       {[]record.Extent{{Start: vmas[len(vmas)-1].Start, End: vmas[len(vmas)-1].Start + pageBytes}}, pageBytes},
		"too few bytes":  {[]record.Extent{{Start: at.Addr, End: at.Addr + 2*pageBytes}}, pageBytes},
		"too many bytes": {[]record.Extent{{Start: at.Addr, End: at.Addr + pageBytes}}, 2 * pageBytes},
	} {
		rec := testkit.Must(stream.New(record.TypePages, &record.Pages{Extents: c.extents}))(t)
		rec.DataLen = c.data
		if err := r.Fill(rec, nil); err == nil || !strings.Contains(err.Error(), stream.ErrCorrupt.Error()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	in := testkit.Must(stream.New(record.TypeInherit, &record.Inherit{Extents: []record.Extent{{Start: at.Addr, End: at.Addr + pageBytes}}}))(t)
	if err := r.Inherit(in); err == nil || !strings.Contains(err.Error(), "in a process without one") {
		t.Error(err)
	}
}

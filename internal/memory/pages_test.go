package memory

import (
	"bytes"
	"io"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/loan"
	"ckpt/internal/proc"
	"ckpt/internal/testkit"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// TestCut: what is cut off and what is left together are what there was.
func TestCut(t *testing.T) {
	rng := testkit.Random(t)
	for range 3000 {
		var ranges []tracee.Range
		total := 0
		for range rng.UintN(8) {
			n := pageBytes * (1 + rng.Uint64N(5))
			ranges = append(ranges, tracee.Range{Addr: rng.Uint64N(1<<30) * pageBytes, Len: n})
			total += int(n)
		}
		n := pageBytes * rng.IntN(total/pageBytes+3)
		head, rest := cut(slices.Clone(ranges), n)
		if got := size(head); got != min(n, total) {
			t.Fatalf("%d bytes of %x: %d", n, ranges, got)
		}
		all := append(slices.Clone(head), rest...)
		if !slices.Equal(inOrder(all), inOrder(ranges)) {
			t.Fatalf("%d bytes of %x: %x and %x", n, ranges, head, rest)
		}
	}
	many := make([]tracee.Range, iovMax+5)
	for i := range many {
		many[i] = tracee.Range{Addr: uint64(i) * 2 * pageBytes, Len: pageBytes}
	}
	if head, rest := cut(many, 1<<40); len(head) != iovMax || len(rest) != 5 {
		t.Errorf("%d and %d", len(head), len(rest))
	}
}

// inOrder lists the pages of ranges in their order.
func inOrder(ranges []tracee.Range) (all []uint64) {
	for _, r := range ranges {
		for at := r.Addr; at < r.Addr+r.Len; at += pageBytes {
			all = append(all, at)
		}
	}
	return all
}

// received is what PAGES records hold, by address, and the order in which they came.
func received(t *testing.T, r *stream.Reader) (pages map[uint64][]byte, order []uint64) {
	t.Helper()
	pages = map[uint64][]byte{}
	for {
		rec := testkit.Must(r.Next())(t)
		if rec.Type == record.TypeEnd {
			return pages, order
		}
		var p record.Pages
		testkit.Check(t, rec.Decode(&p))
		data := testkit.Must(io.ReadAll(r.Data()))(t)
		for _, e := range p.Extents {
			for at := e.Start; at < e.End; at += pageBytes {
				if pages[at] != nil {
					t.Fatalf("page %x comes twice", at)
				}
				pages[at], data = data[:pageBytes], data[pageBytes:]
				order = append(order, at)
			}
		}
		if len(data) != 0 {
			t.Fatalf("%d bytes are left", len(data))
		}
	}
}

// sent checks that all pages of ranges were sent in order, with their content.
func sent(t *testing.T, pid int, ranges []tracee.Range, r *stream.Reader) {
	t.Helper()
	pages, order := received(t, r)
	if want := inOrder(ranges); !slices.Equal(order, want) {
		t.Fatalf("%d pages were sent, not these %d", len(order), len(want))
	}
	for at, b := range pages {
		if !bytes.Equal(b, get(t, pid, at)) {
			t.Fatalf("page %x is not what it is in the process", at)
		}
	}
}

// TestSendCopies: pages are sent by copy, also those that the process may not read,
// and ranges that become unreadable in the middle.
func TestSendCopies(t *testing.T) {
	p, rng := newPuppet(t), testkit.Random(t)
	pid := p.Tracee().PID
	const pages = 700 // more than fit into one record
	at := mmap(t, p, 0, pages*pageBytes, rw, private, nowhere)
	for i := range uint64(pages) {
		put(t, p, at+i*pageBytes, page(rng))
	}
	for range 30 {
		from := rng.Uint64N(pages)
		n := min(1+rng.Uint64N(9), pages-from)
		prot := []uint64{unix.PROT_NONE, unix.PROT_READ, rw, unix.PROT_EXEC}[rng.UintN(4)]
		testkit.Check(t, tracee.CallOK(p, "protect", unix.SYS_MPROTECT, at+from*pageBytes, n*pageBytes, prot))
	}
	for name, ranges := range map[string][]tracee.Range{
		"nothing": nil,
		"all":     {{Addr: at, Len: pages * pageBytes}},
		"some":    someOf(rng.Uint64N, at, pages),
	} {
		t.Log(name)
		r := source(t, func(w *stream.Writer) error {
			never := func() bool { return false }
			return (&Source{PID: pid, At: pid, ID: 1, ByReference: never}).Send(w, slices.Clone(ranges))
		})
		sent(t, pid, ranges, r)
	}
}

// someOf divides pages at random and returns some of the parts.
func someOf(n func(uint64) uint64, at, pages uint64) (ranges []tracee.Range) {
	for i := uint64(0); i < pages; {
		length := min(1+n(20), pages-i)
		if n(3) > 0 {
			ranges = append(ranges, tracee.Range{Addr: at + i*pageBytes, Len: length * pageBytes})
		}
		i += length
	}
	return ranges
}

// borrowed returns a program on loan, in the state in which pages are sent.
func borrowed(t *testing.T) (*loan.Loan, []proc.Mapping) {
	t.Helper()
	runtime.LockOSThread()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	testkit.Check(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	pid := cmd.Process.Pid
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) { // it should be past its start
		if nr, err := proc.ReadSyscall(pid, pid); err == nil && nr == unix.SYS_CLOCK_NANOSLEEP {
			break
		}
		if time.Now().After(end) {
			t.Fatal("sleep(1) does not sleep")
		}
	}
	g := tracee.NewGroup(10*time.Second, func(int, int) {})
	tr := testkit.Must(g.Seize(pid, pid))(t)
	maps := testkit.Must(proc.ReadMaps(pid))(t)
	l := testkit.Must(loan.Borrow(tr, testkit.Must(loan.FindPlace(tr, maps, testkit.Must(proc.FDs(pid))(t), 0))(t)))(t)
	t.Cleanup(func() {
		if err := l.Return(); err != nil {
			t.Error(err)
		}
		if err := g.ReleaseAll(); err != nil {
			t.Error(err)
		}
	})
	return l, maps
}

// TestSendByReference: pages are sent by reference, alternating with copies, through a
// pipe that holds less than a record; some can't be sent that way.
func TestSendByReference(t *testing.T) {
	l, maps := borrowed(t)
	pid := l.Tracee().PID
	var ranges []tracee.Range
	for _, m := range maps {
		if m.Path != "" && m.Path[0] != '[' && m.Prot != 0 {
			ranges = append(ranges, tracee.Range{Addr: m.Start, Len: min(m.Len(), 400*pageBytes)})
		}
	}
	const small = 1 << 16
	if pipe := testkit.Must(l.Pipe(small))(t); pipe.Capacity > small {
		t.Fatalf("a pipe of %d bytes", pipe.Capacity)
	}
	rng := testkit.Random(t)
	asked := 0
	for name, by := range map[string]func() bool{
		"always": func() bool { return true },
		"never":  func() bool { return false },
		// A filter takes the hold between two looks.
		"in turn":   func() bool { asked++; return asked%2 == 0 },
		"at random": func() bool { return rng.UintN(2) == 0 },
	} {
		t.Log(name)
		r := source(t, func(w *stream.Writer) error {
			return (&Source{Loan: l, PID: pid, At: pid, ID: 1, ByReference: by}).Send(w, slices.Clone(ranges))
		})
		sent(t, pid, ranges, r)
	}
}

// TestSendGone: pages that don't exist are an error that says where.
func TestSendGone(t *testing.T) {
	p := newPuppet(t)
	at := mmap(t, p, 0, 2*pageBytes, rw, private, nowhere)
	testkit.Check(t, tracee.CallOK(p, "unmap", unix.SYS_MUNMAP, at, pageBytes))
	f := testkit.Must(p.Tracee().OpenMem())(t)
	defer f.Close()
	w := stream.NewWriter(io.Discard)
	testkit.Check(t, w.Add(record.TypeHeader, &record.Header{Stage: record.StageShared}))
	src := Source{PID: p.Tracee().PID, At: p.Tracee().TID, ByReference: func() bool { return false }}
	if err := src.Send(w, []tracee.Range{{Addr: at, Len: pageBytes}}); err == nil {
		t.Error("it was sent")
	}
}

// TestInherited: which pages a child still shares with its parent.
func TestInherited(t *testing.T) {
	p, rng := newPuppet(t), testkit.Random(t)
	const pages = 64
	at := mmap(t, p, 0, pages*pageBytes, rw, private, nowhere)
	for i := range uint64(pages) {
		put(t, p, at+i*pageBytes, page(rng))
	}
	c := child(t, p)
	var own, shared []uint64
	for i := range uint64(pages) {
		addr := at + i*pageBytes
		switch rng.UintN(3) {
		case 0:
			put(t, c, addr, page(rng))
		case 1:
			put(t, p, addr, page(rng))
		default:
			shared = append(shared, addr)
			continue
		}
		own = append(own, addr)
	}
	all := []tracee.Range{{Addr: at, Len: 10 * pageBytes}, {Addr: at + 10*pageBytes, Len: (pages - 10) * pageBytes}}
	inherited, its, err := Inherited(p.Tracee().PID, c.Tracee().PID, all)
	testkit.Check(t, err)
	if !slices.Equal(pagesOf(inherited), shared) || !slices.Equal(pagesOf(its), own) {
		t.Errorf("inherited %x, not %x; own %x, not %x", pagesOf(inherited), shared, pagesOf(its), own)
	}
	if a, b, err := Inherited(1<<30, 1<<30, nil); a != nil || b != nil || err != nil {
		t.Error(a, b, err)
	}
	if _, _, err := Inherited(1<<30, 1<<30, all); err == nil {
		t.Error("of nobody")
	}
}

// TestSendInherited: however many pages there are, each is in exactly one record.
func TestSendInherited(t *testing.T) {
	var ranges []tracee.Range
	for i := range uint64(2*extentsPerRecord + 3) {
		ranges = append(ranges, tracee.Range{Addr: 2 * i * pageBytes, Len: pageBytes})
	}
	r := source(t, func(w *stream.Writer) error { return SendInherited(w, 7, 9, ranges) })
	var got []record.Extent
	records := 0
	for rec := testkit.Must(r.Next())(t); rec.Type != record.TypeEnd; rec = testkit.Must(r.Next())(t) {
		var in record.Inherit
		testkit.Check(t, rec.Decode(&in))
		if in.PID != 7 || in.Refs.Of != 9 {
			t.Errorf("%+v", in.Refs)
		}
		got = append(got, in.Extents...)
		records++
	}
	if !slices.Equal(got, extents(ranges)) || records != 3 {
		t.Errorf("%d extents in %d records", len(got), records)
	}
}

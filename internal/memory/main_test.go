package memory

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

var seed = flag.Uint64("seed", 0, "of the random tests; 0: a new one")

// random returns numbers whose seed is in the test's log.
func random(t testing.TB) *rand.Rand {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("-seed %d", s)
	return rand.New(rand.NewPCG(s, 0))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return v
	}
}

// newPuppet returns a puppet whose own pages are out of the way of others. The
// test keeps its OS thread.
func newPuppet(t testing.TB, away ...tracee.Range) *tracee.Puppet {
	t.Helper()
	runtime.LockOSThread()
	p := must(tracee.StartStub(false))(t)
	t.Cleanup(func() { _ = p.Tracee().Kill() })
	check(t, p.Tracee().SetSignalMask(^uint64(0))) // its children may end
	check(t, p.CloseAll())
	for _, m := range must(proc.ReadMaps(p.Tracee().PID))(t) {
		away = append(away, tracee.Range{Addr: m.Start, Len: m.Len()})
	}
	hole, ok := tracee.Hole(away, tracee.PuppetBytes)
	if !ok {
		t.Fatal("no room")
	}
	check(t, p.Settle(hole.Addr))
	return p
}

// child forks a puppet.
func child(t testing.TB, p *tracee.Puppet) *tracee.Puppet {
	t.Helper()
	for pid := 30_000; pid > 1000; pid-- {
		if unix.Kill(pid, 0) == unix.ESRCH {
			c := must(p.Clone(pid, 0, unix.SIGCHLD))(t)
			t.Cleanup(func() { _ = c.Tracee().Kill() })
			return c
		}
	}
	t.Fatal("no process id is free")
	return nil
}

// mmap maps memory in a puppet, somewhere if at is 0.
func mmap(t testing.TB, p *tracee.Puppet, at, length uint64, prot, flags int, fd uint64) uint64 {
	t.Helper()
	if at != 0 {
		flags |= mapFixedNoreplace
	}
	return must(p.Call(unix.SYS_MMAP, at, length, uint64(prot), uint64(flags), fd, 0))(t)
}

const (
	nowhere = ^uint64(0)
	private = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	rw      = unix.PROT_READ | unix.PROT_WRITE
)

// put writes a page of a puppet, regardless of protection.
func put(t testing.TB, p *tracee.Puppet, at uint64, b []byte) {
	t.Helper()
	mem := must(p.Tracee().OpenMem())(t)
	defer mem.Close()
	_, err := mem.WriteAt(b, int64(at))
	check(t, err)
}

// get reads a page of a process, regardless of protection; nil if there is none.
func get(t testing.TB, pid int, at uint64) []byte {
	t.Helper()
	mem := must(os.Open(fmt.Sprintf("/proc/%d/mem", pid)))(t)
	defer mem.Close()
	b := make([]byte, pageBytes)
	if _, err := mem.ReadAt(b, int64(at)); err != nil {
		return nil
	}
	return b
}

// page returns a page whose content differs from that of all others.
func page(rng *rand.Rand) []byte {
	b := make([]byte, pageBytes)
	for i := 0; i < len(b); i += 512 {
		b[i], b[i+1], b[i+511] = byte(rng.Uint32()), byte(rng.Uint32()), byte(1+rng.UintN(255))
	}
	return b
}

// source writes a stream to a file and returns a reader of it.
func source(t testing.TB, write func(w *stream.Writer) error) *stream.Reader {
	t.Helper()
	f := must(os.CreateTemp(t.TempDir(), ""))(t)
	t.Cleanup(func() { f.Close() })
	w := stream.NewWriter(f)
	check(t, w.Add(record.TypeHeader, &record.Header{Stage: record.StageShared}))
	check(t, write(w))
	check(t, w.End(record.End{}))
	_ = must(f.Seek(0, 0))(t)
	r := stream.NewReader(f)
	_ = must(r.Next())(t) // HEADER
	return r
}

// extents returns ranges as in a record.
func extents(ranges []tracee.Range) (all []record.Extent) {
	for _, r := range ranges {
		all = append(all, record.Extent{Start: r.Addr, End: r.Addr + r.Len})
	}
	return all
}

// pagesOf lists the pages of ranges.
func pagesOf(ranges []tracee.Range) (all []uint64) {
	for _, r := range ranges {
		for at := r.Addr; at < r.Addr+r.Len; at += pageBytes {
			all = append(all, at)
		}
	}
	slices.Sort(all)
	return all
}

package memory

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/puppet"
	"ckpt/internal/testkit"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// newPuppet returns a puppet whose own pages are out of the way of others. The
// test keeps its OS thread.
func newPuppet(t testing.TB, away ...tracee.Range) *puppet.Puppet {
	t.Helper()
	runtime.LockOSThread()
	p := testkit.Must(puppet.StartStub(false))(t)
	t.Cleanup(func() { _ = p.Tracee().Kill() })
	testkit.Check(t, p.Tracee().SetSignalMask(^uint64(0))) // its children may end
	testkit.Check(t, p.CloseAll())
	for _, m := range testkit.Must(proc.ReadMaps(p.Tracee().PID))(t) {
		away = append(away, tracee.Range{Addr: m.Start, Len: m.Len()})
	}
	hole, ok := tracee.Hole(away, puppet.Bytes)
	if !ok {
		t.Fatal("no room")
	}
	testkit.Check(t, p.Settle(hole.Addr))
	return p
}

// child forks a puppet.
func child(t testing.TB, p *puppet.Puppet) *puppet.Puppet {
	t.Helper()
	for pid := 30_000; pid > 1000; pid-- {
		if unix.Kill(pid, 0) == unix.ESRCH {
			c := testkit.Must(p.Clone(pid, 0, unix.SIGCHLD))(t)
			t.Cleanup(func() { _ = c.Tracee().Kill() })
			return c
		}
	}
	t.Fatal("no process id is free")
	return nil
}

// mmap maps memory in a puppet, somewhere if at is 0.
func mmap(t testing.TB, p *puppet.Puppet, at, length uint64, prot, flags int, fd uint64) uint64 {
	t.Helper()
	if at != 0 {
		flags |= mapFixedNoreplace
	}
	return testkit.Must(p.Call(unix.SYS_MMAP, at, length, uint64(prot), uint64(flags), fd, 0))(t)
}

const (
	nowhere = ^uint64(0)
	private = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	rw      = unix.PROT_READ | unix.PROT_WRITE
)

// put writes a page of a puppet, regardless of protection.
func put(t testing.TB, p *puppet.Puppet, at uint64, b []byte) {
	t.Helper()
	mem := testkit.Must(p.Tracee().OpenMem())(t)
	defer mem.Close()
	_, err := mem.WriteAt(b, int64(at))
	testkit.Check(t, err)
}

// get reads a page of a process, regardless of protection; nil if there is none.
func get(t testing.TB, pid int, at uint64) []byte {
	t.Helper()
	mem := testkit.Must(os.Open(fmt.Sprintf("/proc/%d/mem", pid)))(t)
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
	f := testkit.Must(os.CreateTemp(t.TempDir(), ""))(t)
	t.Cleanup(func() { f.Close() })
	w := stream.NewWriter(f)
	testkit.Check(t, w.Add(record.TypeHeader, &record.Header{Stage: record.StageShared}))
	testkit.Check(t, write(w))
	testkit.Check(t, w.End(record.End{}))
	_ = testkit.Must(f.Seek(0, 0))(t)
	r := stream.NewReader(f)
	_ = testkit.Must(r.Next())(t) // HEADER
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

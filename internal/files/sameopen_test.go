package files

import (
	"cmp"
	"math/bits"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/kcmp"
	"ckpt/internal/testkit"
)

// halves compares descriptors by half their number, and counts.
type halves struct{ calls int }

func (h *halves) Compare(a, b kcmp.Handle, _ kcmp.Type) (kcmp.Ordering, error) {
	h.calls++
	return map[int]kcmp.Ordering{-1: kcmp.Less, 0: kcmp.Equal, 1: kcmp.Greater}[cmp.Compare(a.Idx/2, b.Idx/2)], nil
}

// TestSameOpenCalls: thousands of descriptors of one inode do not mean a comparison of each
// with each while the tree stands still.
func TestSameOpenCalls(t *testing.T) {
	const n = 4096
	subject := func(fd int) *Subject {
		s := &Subject{PID: 1, FD: fd}
		s.Stat.Dev, s.Stat.Ino = 1, 2
		return s
	}
	var all []opened
	compare := &halves{}
	f := sameOpen{cmp: compare}
	for i := range n {
		all = append(all, opened{subject(2 * i), uint64(i + 1), 0})
		if i%2 == 0 {
			continue
		}
		for _, c := range []struct{ fd, file int }{{2*i + 1, i + 1}, {2*i - 1, i}, {1 + 2*n, 0}} {
			if o, err := f.find(all, subject(c.fd)); err != nil || o.number() != uint64(c.file) {
				t.Fatalf("fd %d of %d is taken for file %d (%v), want %d", c.fd, 2*i, o.number(), err, c.file)
			}
		}
	}
	other := subject(0)
	if other.Stat.Dev = 3; testkit.Must(f.find(all, other))(t) != nil {
		t.Error("a file of another device is taken for one that is open")
	}
	if most := (n + 3*n/2) * 2 * bits.Len(n); compare.calls > most {
		t.Errorf("%d comparisons, want at most %d", compare.calls, most)
	}
}

// TestSameOpenKernel asks the kernel.
func TestSameOpenKernel(t *testing.T) {
	var all []opened
	for i := range 3 {
		fd := testkit.Must(unix.EpollCreate1(unix.EPOLL_CLOEXEC))(t)
		defer unix.Close(fd)
		all = append(all, opened{subjectOf(t, fd), uint64(i + 1), 0})
	}
	f := sameOpen{cmp: kcmp.Kernel{}}
	for i := range all {
		fd := testkit.Must(unix.FcntlInt(uintptr(all[i].FD), unix.F_DUPFD_CLOEXEC, 0))(t)
		defer unix.Close(fd)
		if o := testkit.Must(f.find(all, subjectOf(t, fd)))(t); o.number() != all[i].file {
			t.Errorf("a copy of file %d is taken for %d", all[i].file, o.number())
		}
	}
	fd := testkit.Must(unix.EpollCreate1(unix.EPOLL_CLOEXEC))(t)
	defer unix.Close(fd)
	if o := testkit.Must(f.find(all, subjectOf(t, fd)))(t); o != nil {
		t.Errorf("an epoll that nobody has open is taken for file %d", o.file)
	}
}

package files

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/stream"
)

// hugeWriter writes to a file of hugetlbfs, which takes no write(2).
type hugeWriter struct {
	f          *os.File
	page, size int64 // bytes
}

// WriteAt leaves out zeros, so that what was a hole may stay one.
func (w *hugeWriter) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || off > w.size || int64(len(b)) > w.size-off {
		return 0, fmt.Errorf("%w: %d bytes at %d of memory of %d", stream.ErrCorrupt, len(b), off, w.size)
	}
	if allZero(b) {
		return len(b), nil
	}
	start := off &^ (w.page - 1)
	end := min((off+int64(len(b))+w.page-1)&^(w.page-1), w.size)
	mem, err := unix.Mmap(int(w.f.Fd()), start, int(end-start), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return 0, fmt.Errorf("huge pages of %d bytes, see /proc/sys/vm/nr_hugepages: %w", w.page, err)
	}
	n := copy(mem[off-start:], b)
	return n, os.NewSyscallError("munmap", unix.Munmap(mem))
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// contentWriter returns how bytes get into f.
func contentWriter(target contentTarget, f *os.File) io.WriterAt {
	if h, ok := target.(interface{ HugePages() (page, size int64) }); ok {
		if page, size := h.HugePages(); page > 0 {
			return &hugeWriter{f, page, size}
		}
	}
	return f
}

// HugePages returns the size of its pages, 0 for usual ones, and its own.
func (m *memfd) HugePages() (page, size int64) { return m.rec.HugeTLB, m.rec.Size }

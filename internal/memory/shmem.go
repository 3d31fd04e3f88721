package memory

import (
	"errors"
	"fmt"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/sys"
	"ckpt/stream"
)

// SharedMemory is a live object behind shared anonymous mappings.
type SharedMemory struct {
	f          *depot.File
	page, size int64 // page is 0 for usual ones
}

// HugePages returns the size of its pages, 0 for usual ones, and its own: files
// in huge pages can't be written to.
func (s *SharedMemory) HugePages() (page, size int64) { return s.page, s.size }

func checkShmem(rec *stream.Record) []error {
	var s stream.Shmem
	err := rec.Decode(&s)
	switch {
	case err != nil:
	case s.Size == 0 || s.Size > taskSize || s.Size&pageMask != 0 || s.HugePage != 0 && (s.HugePage&(s.HugePage-1) != 0 || s.HugePage <= pageMask || s.Size&(s.HugePage-1) != 0):
		err = fmt.Errorf("%w: shared memory of %d bytes in pages of %d", stream.ErrCorrupt, s.Size, s.HugePage)
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

// restoreShmem makes the object of a SHMEM record, empty as yet.
func restoreShmem(rec *stream.Record, d *depot.Depot, _ func(string, ...any)) (Object, error) {
	var s stream.Shmem
	if err := rec.Decode(&s); err != nil {
		return nil, err
	}
	addr, err := sys.MapShared(s.Size, hugeFlags(s.HugePage))
	if err != nil {
		return nil, fmt.Errorf("shared memory of %d bytes%s: %w", s.Size, hugeHint(s.HugePage), err)
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/map_files/%x-%x", addr, uint64(addr)+s.Size), os.O_RDWR, 0)
	if err := errors.Join(err, sys.Unmap(addr, s.Size)); err != nil {
		return nil, fmt.Errorf("shared memory of %d bytes: %w", s.Size, err)
	}
	k, err := d.Keep(f)
	return &SharedMemory{k, int64(s.HugePage), int64(s.Size)}, err
}

// hugeFlags are the mmap(2) flags for pages of a size, 0 for usual ones.
func hugeFlags(page uint64) int {
	if page == 0 {
		return 0
	}
	const shift = 26 // MAP_HUGE_SHIFT
	return unix.MAP_HUGETLB | bits.TrailingZeros64(page)<<shift
}

// hugeHint says what to do when there are too few.
func hugeHint(page uint64) string {
	if page == 0 {
		return ""
	}
	return fmt.Sprintf(" in huge pages of %d kB, of which more may be needed, see /proc/sys/vm/nr_hugepages", page>>10)
}

// Open opens the object anew.
func (s *SharedMemory) Open(flags int) (*os.File, error) { return reopen(s.f, flags) }

// ContentFile is where the object's bytes go.
func (s *SharedMemory) ContentFile() (*os.File, error) { return s.f.Dup() }

// Close drops the reference.
func (s *SharedMemory) Close() error { return s.f.Close() }

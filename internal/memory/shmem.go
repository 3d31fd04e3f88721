package memory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// collectShmem describes the object behind shared anonymous mappings. Only its inode
// number identifies it.
func collectShmem(c *Collector, m *proc.Mapping, v *record.VMA) error {
	link := m.Link(c.At)
	st, err := os.Stat(link)
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("shared memory of pid %d at %x: reading it takes CAP_CHECKPOINT_RESTORE: %w", c.PID, m.Start, err)
	}
	if err != nil {
		return fmt.Errorf("shared memory of pid %d: %w", c.PID, err)
	}
	ident := binary.LittleEndian.AppendUint64([]byte("shmem"), m.Dev)
	ident = binary.LittleEndian.AppendUint64(ident, m.Inode)
	id := c.NewID()
	if err := c.Content(id, string(ident), link); err != nil {
		return fmt.Errorf("shared memory of pid %d: %w", c.PID, err)
	}
	v.Refs.Inode = id
	return c.Emit(record.TypeShmem, &record.Shmem{
		Object: record.Object{ID: id, Ident: ident},
		Size:   uint64(st.Size()), HugePage: hugePage(m),
	})
}

// sharedMemory is a restored object behind shared anonymous mappings.
type sharedMemory struct {
	object.Base
	f          *depot.File
	page, size int64 // page is 0 unless it has huge pages
}

func shmemKind(r *object.Restart) object.Kind {
	return object.Kind{Check: checkShmem, Make: func(rec *stream.Record) (object.Object, error) { return makeShmem(r, rec) }}
}

func checkShmem(rec *stream.Record) []error {
	var s record.Shmem
	err := rec.Decode(&s)
	switch {
	case err != nil:
	case s.Size == 0 || s.Size > taskSize || s.Size&pageMask != 0 || s.HugePage != 0 && (s.HugePage&(s.HugePage-1) != 0 || s.HugePage <= pageBytes || s.Size&(s.HugePage-1) != 0):
		err = fmt.Errorf("%w: shared memory of %d bytes in pages of %d", stream.ErrCorrupt, s.Size, s.HugePage)
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

// makeShmem makes the object of a SHMEM record, without contents.
func makeShmem(r *object.Restart, rec *stream.Record) (object.Object, error) {
	var s record.Shmem
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
	k, err := r.Depot.Keep(f)
	if err != nil {
		return nil, err
	}
	return &sharedMemory{f: k, page: int64(s.HugePage), size: int64(s.Size)}, nil
}

// hugeFlags returns the flags of mmap(2) for huge pages of a size; page 0 stands for
// normal pages.
func hugeFlags(page uint64) int {
	if page == 0 {
		return 0
	}
	const shift = 26 // MAP_HUGE_SHIFT
	return unix.MAP_HUGETLB | bits.TrailingZeros64(page)<<shift
}

// hugeHint says what to do if there are too few huge pages.
func hugeHint(page uint64) string {
	if page == 0 {
		return ""
	}
	return fmt.Sprintf(" in huge pages of %d kB, of which more may be needed, see /proc/sys/vm/nr_hugepages", page>>10)
}

func (s *sharedMemory) Open(flags int) (*os.File, error) { return reopen(s.f, flags) }

func (s *sharedMemory) Fill(rec *stream.Record, data io.Reader) error {
	f, err := s.f.Dup()
	if err != nil {
		return err
	}
	return object.FillContent(rec, data, f, s.page, s.size)
}

func (s *sharedMemory) Close() error { return s.f.Close() }

package memory

import (
	"errors"
	"fmt"
	"os"

	"ckpt/internal/sys"
	"ckpt/stream"
)

// SharedMemory is a live object behind shared anonymous mappings.
type SharedMemory struct{ f *os.File }

// RestoreShmem makes the object of a SHMEM record, empty as yet.
func RestoreShmem(rec *stream.Record) (*SharedMemory, error) {
	var s stream.Shmem
	if err := rec.Decode(&s); err != nil {
		return nil, err
	}
	if s.Size == 0 || s.Size > taskSize || s.Size&pageMask != 0 {
		return nil, fmt.Errorf("%w: shared memory of %d bytes", stream.ErrCorrupt, s.Size)
	}
	addr, err := sys.MapShared(s.Size)
	if err != nil {
		return nil, fmt.Errorf("shared memory of %d bytes: %w", s.Size, err)
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/map_files/%x-%x", addr, uint64(addr)+s.Size), os.O_RDWR, 0)
	if err := errors.Join(err, sys.Unmap(addr, s.Size)); err != nil {
		return nil, fmt.Errorf("shared memory of %d bytes: %w", s.Size, err)
	}
	return &SharedMemory{f}, nil
}

// Open opens the object anew.
func (s *SharedMemory) Open(flags int) (*os.File, error) {
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", s.f.Fd()), flags, 0)
}

// ContentFile is where the object's bytes go.
func (s *SharedMemory) ContentFile() (*os.File, error) { return s.f, nil }

// Close drops the reference.
func (s *SharedMemory) Close() error { return s.f.Close() }

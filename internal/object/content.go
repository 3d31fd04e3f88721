package object

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/stream"
	"ckpt/stream/record"
)

// FillContent writes the bytes of a CONTENT record into f, which it closes. If f is
// on hugetlbfs, which has no write(2), page is its page size and size its own; else
// page is 0.
func FillContent(rec *stream.Record, data io.Reader, f *os.File, page, size int64) error {
	defer f.Close()
	var c record.Content
	if err := rec.Decode(&c); err != nil {
		return err
	}
	if c.Offset < 0 {
		return fmt.Errorf("%w: content at %d of object %d", stream.ErrCorrupt, c.Offset, c.Refs.Inode)
	}
	var w io.WriterAt = f
	if page > 0 {
		w = &hugeWriter{f, page, size}
	}
	n, err := io.Copy(io.NewOffsetWriter(w, c.Offset), data)
	if err != nil {
		return fmt.Errorf("write to %s: %w", f.Name(), err)
	}
	if n != rec.DataLen {
		return stream.ErrTruncated
	}
	return nil
}

// hugeWriter writes to a file on hugetlbfs, which has no write(2).
type hugeWriter struct {
	f          *os.File
	page, size int64 // bytes
}

// WriteAt leaves out zeros, so that holes stay holes.
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

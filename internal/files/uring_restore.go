package files

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/object"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

const (
	maxSQEntries = 1 << 15 // IORING_MAX_ENTRIES of io_uring/io_uring.h
	maxCQEntries = 1 << 16 // IORING_MAX_CQ_ENTRIES
)

// uringMaker is the kind in one restart.
type uringMaker struct {
	*Restorer
	total  uint64            // requests that went through all rings
	counts map[uint64]uint32 // and through each, by objref
}

func (m *uringMaker) check(rec *stream.Record) []error {
	u, err := decode[record.IOUring](rec)
	switch {
	case err != nil:
	case bits.OnesCount32(u.SQEntries) != 1 || bits.OnesCount32(u.CQEntries) != 1 || u.SQEntries > maxSQEntries || u.CQEntries > maxCQEntries || u.SQEntries > u.CQEntries || tooOften(u.Count, u.SQEntries):
		err = fmt.Errorf("%w: an io_uring of %d and %d entries that %d requests have gone through", stream.ErrCorrupt, u.SQEntries, u.CQEntries, u.Count)
	case m.count(u) > maxUringCount:
		err = fmt.Errorf("too many requests have gone through the io_urings, %d, to be counted again", m.count(u))
	case !m.Paper:
		var fd int
		if fd, _, err = newUring(u.SQEntries, u.CQEntries, u.Direct); err != nil {
			err = fmt.Errorf("an io_uring of %d and %d entries can't be made here: %w", u.SQEntries, u.CQEntries, err)
		} else {
			unix.Close(fd)
		}
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

// countUring counts the requests of an io_uring, and returns the sum of all.
func (m *uringMaker) count(u *record.IOUring) uint64 {
	if m.counts == nil {
		m.counts = map[uint64]uint32{}
	}
	m.total += uint64(u.Count) - uint64(m.counts[u.Objref])
	m.counts[u.Objref] = u.Count
	return m.total
}

// uring is a restored io_uring.
type uring struct {
	single
	sizes uringSizes
}

func (m *uringMaker) make(rec *stream.Record) (object.Object, error) {
	u, err := decode[record.IOUring](rec)
	if err != nil {
		return nil, err
	}
	var fd int
	var p *sys.UringParams
	err = m.asUserOf(u.Objref, func() (err error) { // whose limits count for what it registers
		fd, p, err = newUring(u.SQEntries, u.CQEntries, u.Direct)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make an io_uring: %w", err)
	}
	if err := advance(fd, p, u.Count); err != nil {
		return nil, errors.Join(fmt.Errorf("count %d requests of an io_uring: %w", u.Count, err), unix.Close(fd))
	}
	s, err := m.newSingle(fd, "an io_uring")
	if err != nil {
		return nil, err
	}
	return &uring{*s, sizesOf(p)}, nil
}

// advance lets a number of requests go through a new ring. Its memory is all zeros, so
// each is the first entry, an IORING_OP_NOP.
func advance(fd int, p *sys.UringParams, count uint32) error {
	m, err := unix.Mmap(fd, sys.UringOffRings, sizesOf(p).rings, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	for done := uint32(0); done < count && err == nil; {
		n := min(p.SQEntries, count-done)
		binary.NativeEndian.PutUint32(m[p.SQ.Tail:], done+n)
		var taken int
		taken, err = sys.UringEnter(fd, n)
		if err == nil && taken != int(n) {
			err = io.ErrShortWrite
		}
		done += n
		binary.NativeEndian.PutUint32(m[p.CQ.Head:], done)
	}
	return errors.Join(err, unix.Munmap(m))
}

// Open returns the ring itself, also to be mapped, which must not change its flags.
func (u *uring) Open(flags int) (*os.File, error) {
	if flags&statusFlags == 0 {
		return u.f.Dup()
	}
	return u.single.Open(flags)
}

// Fill writes to its memory.
func (u *uring) Fill(rec *stream.Record, data io.Reader) error {
	c, err := decode[record.Content](rec)
	if err != nil {
		return err
	}
	fd, err := u.f.Fd()
	if err != nil {
		return err
	}
	for offset, n := range u.sizes.all() {
		at := c.Offset - offset
		if at < 0 || at > int64(n) || rec.DataLen > int64(n)-at {
			continue
		}
		m, err := unix.Mmap(fd, offset, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return os.NewSyscallError("mmap", err)
		}
		if _, err = io.ReadFull(data, m[at:at+rec.DataLen]); err != nil {
			err = stream.ErrTruncated
		}
		return errors.Join(err, unix.Munmap(m))
	}
	return fmt.Errorf("%w: %d bytes at %#x of an io_uring", stream.ErrCorrupt, rec.DataLen, c.Offset)
}

// tooOften reports whether so many requests have gone through a ring that a restore would
// take too long.
func tooOften(count, entries uint32) bool {
	return count > maxUringCount || count/entries > maxUringCalls
}

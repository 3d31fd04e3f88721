package memory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/loan"
	"ckpt/internal/proc"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

const (
	iovMax      = 1024
	pipeBytes   = stream.DataChunkBytes
	extentBytes = 1 << 30 // the most that one extent in an image may have
)

// Source moves pages of a process, a thread of which is on loan, into a stream: by
// reference, with vmsplice(2) made in the process, or by copy, with
// process_vm_readv(2).
type Source struct {
	Loan *loan.Loan
	PID  int
	At   int    // a thread by way of which its memory is read
	ID   uint64 // of the MM record
	// ByReference is asked before each chunk. It reports whether the reader of the
	// stream promises to be done with the chunk before the process runs again: a page
	// sent by reference changes when the process writes to it.
	ByReference func() bool

	pipe   *loan.Pipe
	noPipe bool
	buf    []byte
}

// Send writes PAGES records for the ranges.
func (s *Source) Send(w *stream.Writer, pages []tracee.Range) error {
	for len(pages) > 0 {
		chunk, rest := cut(pages, s.chunkBytes())
		unsent, err := s.send(w, chunk)
		if err != nil {
			return err
		}
		if len(unsent) > 0 { // the pipe had no room for it
			rest = append(unsent, rest...)
		}
		pages = rest
	}
	return nil
}

func (s *Source) chunkBytes() int {
	if s.ByReference() && s.openPipe() {
		return min(s.pipe.Capacity, stream.DataChunkBytes)
	}
	return stream.DataChunkBytes
}

// openPipe makes the pipe in the process. If that fails, for lack of descriptors for
// example, pages are copied.
func (s *Source) openPipe() bool {
	if s.pipe == nil && !s.noPipe {
		p, err := s.Loan.Pipe(pipeBytes)
		s.pipe, s.noPipe = p, err != nil
	}
	return s.pipe != nil
}

// send writes one record and returns the part of the chunk that is not in it.
func (s *Source) send(w *stream.Writer, chunk []tracee.Range) (unsent []tracee.Range, err error) {
	if s.ByReference() && s.openPipe() {
		n, err := s.pipe.Fill(chunk)
		if err == nil && n > 0 {
			done, unsent := cut(chunk, n)
			return unsent, s.emit(w, done, s.pipe.Out)
		}
		// Something can't be sent by reference: copy from now on.
		s.noPipe, s.pipe = true, nil
	}
	return s.copy(w, chunk)
}

func (s *Source) copy(w *stream.Writer, chunk []tracee.Range) (unsent []tracee.Range, err error) {
	if len(s.buf) < size(chunk) { // hardly ever after the first
		s.buf = make([]byte, size(chunk))
	}
	n, err := tracee.ReadVec(s.At, s.buf[:size(chunk)], chunk)
	if errors.Is(err, unix.EFAULT) || err == nil && n < pageBytes {
		// The process itself may not read these pages; /proc/PID/mem can.
		n, err = s.readForced(s.buf[:chunk[0].Len], chunk[0].Addr)
	}
	if err != nil {
		return nil, fmt.Errorf("pid %d: read its memory at %x: %w", s.PID, chunk[0].Addr, err)
	}
	n &^= pageMask
	done, unsent := cut(chunk, n)
	return unsent, s.emit(w, done, &sliceReader{s.buf[:n]})
}

func (s *Source) readForced(buf []byte, addr uint64) (int, error) {
	mem, err := os.Open(proc.Path(s.At, "mem"))
	if err != nil {
		return 0, err
	}
	defer mem.Close()
	n, err := mem.ReadAt(buf, int64(addr))
	if n >= pageBytes {
		err = nil
	}
	return n, err
}

const pageBytes = abi.PageBytes

func (s *Source) emit(w *stream.Writer, chunk []tracee.Range, data io.Reader) error {
	meta := record.Pages{PID: s.PID, Refs: record.PartOf{Of: s.ID}}
	for _, r := range chunk {
		meta.Extents = append(meta.Extents, record.Extent{Start: r.Addr, End: r.Addr + r.Len})
	}
	rec, err := stream.New(record.TypePages, &meta)
	if err != nil {
		return err
	}
	rec.DataLen = int64(size(chunk))
	return w.Write(rec, data)
}

type sliceReader struct{ b []byte }

func (s *sliceReader) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.b)
	s.b = s.b[n:]
	return n, nil
}

// cut returns the first n bytes of ranges, at most iovMax ranges, and the rest. It
// modifies ranges, which must not be used any more.
func cut(ranges []tracee.Range, n int) (head, rest []tracee.Range) {
	left := uint64(n)
	for i := range ranges {
		r := &ranges[i]
		if left == 0 || i == iovMax {
			return head, ranges[i:]
		}
		if r.Len > left {
			head = append(head, tracee.Range{Addr: r.Addr, Len: left})
			r.Addr, r.Len = r.Addr+left, r.Len-left
			return head, ranges[i:]
		}
		head = append(head, *r)
		left -= r.Len
	}
	return head, nil
}

func size(ranges []tracee.Range) int {
	n := uint64(0)
	for _, r := range ranges {
		n += r.Len
	}
	return int(n)
}

// Fill puts the contents of a PAGES record where they belong. The puppet reads them
// from the stream itself where its mappings are writable; elsewhere they are written
// through /proc/PID/mem.
func (r *Restorer) Fill(rec *stream.Record, in *stream.Reader) error {
	var p record.Pages
	if err := rec.Decode(&p); err != nil {
		return err
	}
	if err := r.checkExtents(&p, rec.DataLen); err != nil {
		return err
	}
	if err := r.endInherit(); err != nil {
		return err
	}
	for len(p.Extents) > 0 {
		direct := r.writable(p.Extents[0].Start)
		n := 1
		for n < len(p.Extents) && n < iovMax && r.writable(p.Extents[n].Start) == direct {
			n++
		}
		var err error
		if direct && in.File() != nil {
			err = r.fillDirect(p.Extents[:n], in)
		} else {
			err = r.fillForced(p.Extents[:n], in)
		}
		if err != nil {
			return err
		}
		p.Extents = p.Extents[n:]
	}
	return nil
}

// checkExtents makes sure that each extent lies in one private mapping.
func (r *Restorer) checkExtents(p *record.Pages, dataLen int64) error {
	total := uint64(0)
	for _, e := range p.Extents {
		v := r.find(e.Start)
		if v == nil || e.End <= e.Start || e.End > v.End || (e.Start|e.End)&pageMask != 0 || e.End-e.Start > extentBytes ||
			v.Shared || !kindNamed(v.Kind).pages {
			return fmt.Errorf("%w: pages %x-%x are not in a private mapping", stream.ErrCorrupt, e.Start, e.End)
		}
		total += e.End - e.Start
	}
	if total != uint64(dataLen) {
		return fmt.Errorf("%w: %d bytes of pages with %d bytes of data", stream.ErrCorrupt, total, dataLen)
	}
	return nil
}

// find returns the mapping that addr lies in, or nil.
func (r *Restorer) find(addr uint64) *record.VMA {
	i := sort.Search(len(r.vmas), func(i int) bool { return r.vmas[i].End > addr })
	if i == len(r.vmas) || r.vmas[i].Start > addr {
		return nil
	}
	return &r.vmas[i]
}

func (r *Restorer) writable(addr uint64) bool { return mapProt(r.find(addr))&unix.PROT_WRITE != 0 }

// fillDirect has the puppet read(2) from the stream's own descriptor.
func (r *Restorer) fillDirect(extents []record.Extent, in *stream.Reader) error {
	at := r.Puppet.Scratch().Addr
	for len(extents) > 0 {
		iov := make([]byte, 0, 16*len(extents))
		for _, e := range extents {
			iov = binary.LittleEndian.AppendUint64(iov, e.Start)
			iov = binary.LittleEndian.AppendUint64(iov, e.End-e.Start)
		}
		if err := r.Puppet.Tracee().WriteMem(at, iov); err != nil {
			return err
		}
		n, err := r.readv(in, at, len(extents))
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err != nil:
			return fmt.Errorf("pid %d: fill its memory at %x: %w", r.PID, extents[0].Start, err)
		case n == 0:
			return stream.ErrTruncated
		}
		if err := in.Skip(int64(n)); err != nil {
			return err
		}
		for len(extents) > 0 && n > 0 {
			step := min(n, extents[0].End-extents[0].Start)
			extents[0].Start += step
			n -= step
			if extents[0].Start == extents[0].End {
				extents = extents[1:]
			}
		}
	}
	return nil
}

// readv reads into as many ranges as there are at an address. The first time it gives the
// puppet the stream's descriptor, with the same stop.
func (r *Restorer) readv(in *stream.Reader, at uint64, ranges int) (n uint64, err error) {
	if r.in >= 0 {
		return r.Puppet.Call(unix.SYS_READV, uint64(r.in), at, uint64(ranges))
	}
	v := r.Puppet.Vector()
	given := r.Puppet.GiveIn(v, int(in.File().Fd()))
	read := v.Add("fill its memory", unix.SYS_READV, 0, at, uint64(ranges)).From(0, given).MayFail()
	if err := v.Run(); err != nil {
		return 0, err
	}
	fd, err := given.Result()
	if err != nil {
		return 0, err
	}
	r.in = int(fd)
	return read.Result()
}

// forced opens /proc/PID/mem on first use only: there may be more processes than we
// may have descriptors.
func (r *Restorer) forced() (_ *os.File, err error) {
	if r.mem == nil {
		r.mem, err = r.Puppet.Tracee().OpenMem()
	}
	return r.mem, err
}

// fillForced writes to pages regardless of their protection.
func (r *Restorer) fillForced(extents []record.Extent, in *stream.Reader) error {
	mem, err := r.forced()
	if err != nil {
		return err
	}
	data := in.Data()
	for _, e := range extents {
		w := io.NewOffsetWriter(mem, int64(e.Start))
		_, err := io.CopyN(w, data, int64(e.End-e.Start))
		if errors.Is(err, io.EOF) {
			return stream.ErrTruncated
		}
		if err != nil {
			return fmt.Errorf("pid %d: fill its memory at %x: %w", r.PID, e.Start, err)
		}
	}
	return nil
}

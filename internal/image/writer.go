package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

// WriterOptions are the choices of a Writer.
type WriterOptions struct {
	// Level is the compression level, MinLevel (stored) to MaxLevel. The zero value stores; DefaultLevel is
	// what a user who doesn't care should get.
	Level int
	// Threads is how many goroutines compress: 0 for one for each processor, at most 4.
	Threads int
}

// Writer makes an image of the bytes written to it. Compression and output run in goroutines; the methods,
// except Written and Abort, are for one goroutine at a time.
//
// The first error is final: every later call returns it, and Close does not complete the image.
type Writer struct {
	out     io.Writer
	enc     *zstd.Encoder
	cur     *chunk // being filled; nil between chunks
	final   error  // set by Close: what every later call returns
	written atomic.Int64
	table   frameTable // emit's until the goroutines are through

	free   chan *chunk // nil: a chunk not yet made
	work   chan *chunk // to the compressing goroutines
	order  chan *chunk // the same chunks, in the order of the stream, to emit
	group  *errgroup.Group
	ctx    context.Context // its cause is the first error
	cancel context.CancelCauseFunc
}

// CheckOptions says what is wrong with a level or a number of threads.
func CheckOptions(level, threads int) error {
	if level < MinLevel || level > MaxLevel {
		return fmt.Errorf("image: compression level %d, must be %d to %d", level, MinLevel, MaxLevel)
	}
	_, err := threadCount(threads)
	return err
}

// NewWriter writes the header of an image to w and starts the goroutines. The caller must call Close when
// all was written or Abort when something failed; Abort after Close does nothing.
func NewWriter(w io.Writer, opts WriterOptions) (*Writer, error) {
	if err := CheckOptions(opts.Level, opts.Threads); err != nil {
		return nil, err
	}
	threads, err := threadCount(opts.Threads)
	if err != nil {
		return nil, err
	}
	z := &Writer{out: w}
	if opts.Level > 0 {
		if z.enc, err = newEncoder(opts.Level, threads); err != nil {
			return nil, fmt.Errorf("image: %w", err)
		}
	}
	if err := z.put(headerFrame()); err != nil {
		return nil, err
	}
	z.start(threads)
	return z, nil
}

// Write implements io.Writer. It returns when p is copied, before it is in the file.
func (z *Writer) Write(p []byte) (int, error) {
	var n int
	for n < len(p) {
		space, err := z.space()
		if err != nil {
			return n, err
		}
		k := copy(space, p[n:])
		z.cur.n += k
		n += k
	}
	return n, z.cause()
}

// ReadFrom implements io.ReaderFrom: it reads r up to its end, straight into the buffers that are compressed.
// An error of r is an error of the Writer too, so that a stream cut short is never made a complete image.
func (z *Writer) ReadFrom(r io.Reader) (int64, error) {
	var total int64
	for empty := 0; ; {
		space, err := z.space()
		if err != nil {
			return total, err
		}
		n, err := r.Read(space)
		if n < 0 || n > len(space) {
			n, err = 0, errors.New("image: the source returned an impossible count")
		}
		z.cur.n += n
		total += int64(n)
		if empty++; n > 0 {
			empty = 0
		}
		switch {
		case err == io.EOF:
			return total, z.cause()
		case err == nil && empty >= 100:
			err = io.ErrNoProgress
		}
		if err != nil {
			z.cancel(err)
			return total, z.cause()
		}
	}
}

// Cut ends the current data frame, so that what is written next does not share it with what came before.
// Two cuts in a row are one.
func (z *Writer) Cut() error {
	if err := z.cause(); err != nil {
		return err
	}
	if z.cur == nil || z.cur.n == 0 {
		return nil
	}
	return z.submit()
}

// Close completes the image: the last frame, the index, the seek table. It returns when all of it has been
// written to the underlying writer, which it does not close. It must not be called for a stream that failed: the
// end of the file is what says that the image is complete. After an error of the Writer it writes nothing, waits for
// a write in progress, and returns that error.
func (z *Writer) Close() error {
	if z.final != nil {
		return z.final
	}
	err := z.Cut()
	close(z.work)
	close(z.order)
	if werr := z.group.Wait(); err == nil {
		err = werr
	}
	if err == nil {
		err = z.table.writeEnd(z.Written(), z.put)
	}
	z.final = err
	if err == nil {
		z.final = ErrClosed
	}
	z.cancel(nil)
	return err
}

// Abort gives the image up: it stays incomplete. The goroutines end at once, or as soon as a write in
// progress returns. Abort may be called at any time, by any goroutine, and after Close, when it does nothing.
func (z *Writer) Abort() { z.cancel(ErrClosed) }

// Written returns how many bytes of the image were written so far; after Close, its size.
func (z *Writer) Written() int64 { return z.written.Load() }

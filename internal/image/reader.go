package image

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// ReaderOptions are the choices of a Reader.
type ReaderOptions struct {
	// Threads is how many goroutines decompress: 0 for one for each processor, at most 4.
	Threads int
	// Tail is what may follow the image. If it does, the image ends there, and Rest returns what is
	// behind, Tail included. "": nothing may follow.
	Tail string
}

// Reader returns the stream inside an image. It reads its source once, from front to back, so the source
// may be a pipe. A frame's content is returned only after the frame was verified, and io.EOF only after
// the whole file was, its end included. The first error is final. The methods are for one goroutine.
type Reader struct {
	src     io.Reader
	opts    ReaderOptions
	started bool
	err     error  // final
	cur     *piece // whose content is being returned
	rest    []byte // of cur

	dec    *zstd.Decoder
	free   chan *piece // nil: a piece not yet made
	work   chan *piece
	order  chan *piece
	scan   *scanner
	end    error // set before order is closed; io.EOF if the image is good
	ctx    context.Context
	cancel context.CancelFunc
}

// piece is a data frame on its way through a Reader.
type piece struct {
	offset  int64
	number  int64
	frame   []byte // as it is in the file
	content int
	out     []byte // decompressed
	err     error
	done    chan struct{} // has a value when out and err are set
}

// NewReader returns a Reader of the image r. Nothing is read before the first Read or WriteTo; errors of the
// options come up there too. The caller must call Close.
func NewReader(r io.Reader, opts ReaderOptions) *Reader {
	return &Reader{src: r, opts: opts}
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(r.rest) == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: it writes the rest of the stream to w, a frame at a time. A nil error
// means that the image was verified to its end.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		for len(r.rest) > 0 {
			n, err := w.Write(r.rest)
			if n < 0 || n > len(r.rest) {
				return total, fmt.Errorf("image: the destination returned an impossible count")
			}
			total += int64(n)
			r.rest = r.rest[n:]
			if err == nil && len(r.rest) > 0 {
				err = io.ErrShortWrite
			}
			if err != nil {
				return total, err
			}
		}
		if err := r.next(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
	}
}

// Rest returns what follows the image, after io.EOF was returned.
func (r *Reader) Rest() io.Reader {
	if r.scan == nil || !r.scan.followed {
		return strings.NewReader("")
	}
	return io.MultiReader(strings.NewReader(r.opts.Tail), r.scan.src)
}

// Close stops the goroutines; a read of the source that is in progress is not interrupted. It does not
// close the source, and says nothing about the image.
func (r *Reader) Close() error {
	if r.cancel != nil {
		r.cancel()
	}
	r.rest = nil
	if r.err == nil {
		r.err = ErrClosed
	}
	return nil
}

// next makes the next frame's content r.rest, or sets the final error.
func (r *Reader) next() error {
	if r.err != nil {
		return r.err
	}
	if !r.started {
		if err := r.start(); err != nil {
			r.err = err
			return err
		}
	}
	if r.cur != nil {
		r.free <- r.cur
		r.cur = nil
	}
	p, ok := <-r.order
	if !ok {
		return r.finish(r.end)
	}
	<-p.done
	if p.err != nil {
		return r.finish(&FrameError{Offset: p.offset, Frame: p.number, Err: p.err})
	}
	r.cur, r.rest = p, p.out
	return nil
}

func (r *Reader) finish(err error) error {
	r.err = err
	r.cancel()
	return err
}

// start makes the goroutines: one that reads and finds the frames, and threads that decompress. As in
// a Writer, each channel has room for all pieces there are.
func (r *Reader) start() error {
	threads, err := threadCount(r.opts.Threads)
	if err != nil {
		return err
	}
	if r.dec, err = newDecoder(threads); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	r.started = true
	pieces := threads + 2 // one being read, one being returned
	r.free = make(chan *piece, pieces)
	r.work = make(chan *piece, pieces)
	r.order = make(chan *piece, pieces)
	for range pieces {
		r.free <- nil
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.scan = newScanner(bufio.NewReaderSize(r.src, tableBufBytes))
	r.scan.follows = r.opts.Tail
	for range threads {
		go r.decompress()
	}
	go r.feed()
	return nil
}

// feed reads the image and hands its data frames on until it ends or fails.
func (r *Reader) feed() {
	defer close(r.work)
	defer close(r.order)
	r.end = r.scan.header()
	for r.end == nil {
		var p *piece
		select {
		case p = <-r.free:
		case <-r.ctx.Done():
			r.end = ErrClosed
			return
		}
		if p == nil {
			p = &piece{done: make(chan struct{}, 1)}
		}
		if r.end = r.scan.next(p); r.end == nil {
			r.work <- p
			r.order <- p
		}
	}
}

func (r *Reader) decompress() {
	for p := range r.work {
		if r.ctx.Err() != nil {
			p.err = ErrClosed
		} else {
			p.out, p.err = decodeFrame(r.dec, p.frame, p.out, p.content)
		}
		p.done <- struct{}{}
	}
}

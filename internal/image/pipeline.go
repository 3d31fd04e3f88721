package image

import (
	"context"
	"io"

	"golang.org/x/sync/errgroup"
)

// start makes the goroutines of a Writer: threads that compress and one that writes. A chunk goes from free
// to the caller, from there to work and order, and from emit back to free. Each channel has room for
// all chunks there are, so only taking one can block.
func (z *Writer) start(threads int) {
	chunks := threads + 2 // one being filled, one being written
	z.free = make(chan *chunk, chunks)
	z.work = make(chan *chunk, chunks)
	z.order = make(chan *chunk, chunks)
	for range chunks {
		z.free <- nil
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	z.cancel = cancel
	z.group, z.ctx = errgroup.WithContext(ctx)
	for range threads {
		z.group.Go(z.compress)
	}
	z.group.Go(z.emit)
}

// cause returns the first error, nil while there is none.
func (z *Writer) cause() error {
	if z.final != nil {
		return z.final
	}
	return context.Cause(z.ctx)
}

// space returns where the next bytes go, at least one, and makes sure that z.cur is set.
func (z *Writer) space() ([]byte, error) {
	if err := z.cause(); err != nil {
		return nil, err
	}
	if z.cur != nil && z.cur.full() {
		if err := z.submit(); err != nil {
			return nil, err
		}
	}
	if z.cur == nil {
		select {
		case z.cur = <-z.free:
		case <-z.ctx.Done():
			return nil, z.cause()
		}
		if z.cur == nil {
			z.cur = newChunk(z.enc == nil)
		}
	}
	return z.cur.space(), nil
}

// submit hands the current chunk to the goroutines.
func (z *Writer) submit() error {
	c := z.cur
	z.cur = nil
	z.work <- c
	z.order <- c
	return z.cause()
}

// compress turns chunks into frames until there are no more.
func (z *Writer) compress() error {
	for {
		select {
		case <-z.ctx.Done():
			return context.Cause(z.ctx)
		case c, ok := <-z.work:
			if !ok {
				return nil
			}
			c.encode(z.enc)
			c.done <- struct{}{}
		}
	}
}

// emit writes the frames in the order of the stream.
func (z *Writer) emit() error {
	for {
		var c *chunk
		var ok bool
		select {
		case c, ok = <-z.order:
		case <-z.ctx.Done():
			return context.Cause(z.ctx)
		}
		if !ok {
			return nil
		}
		select {
		case <-c.done:
		case <-z.ctx.Done():
			return context.Cause(z.ctx)
		}
		if err := z.emitChunk(c); err != nil {
			return err
		}
		c.n = 0
		z.free <- c
	}
}

func (z *Writer) emitChunk(c *chunk) error {
	if c.err != nil {
		return c.err
	}
	if err := z.table.add(c.entry()); err != nil {
		return err
	}
	return z.put(c.frame)
}

// put writes b and counts it.
func (z *Writer) put(b []byte) error {
	n, err := z.out.Write(b)
	z.written.Add(int64(max(n, 0)))
	if err == nil && n != len(b) {
		err = io.ErrShortWrite
	}
	return err
}

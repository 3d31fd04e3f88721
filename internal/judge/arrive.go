package judge

import (
	"io"
	"sync"

	"ckpt/stream"
)

// arrived is a record, or the error in its place, and where in the stream it is.
type arrived struct {
	rec           *stream.Record
	index, offset int64
	err           error
}

// at says that an error is of this record.
func (a *arrived) at(err error) error {
	return &stream.RecordError{Index: a.index, Type: a.rec.Type, Offset: a.offset, Err: err}
}

// last reports whether it ends the metadata.
func (a *arrived) last() bool { return a.err != nil || Ends(a.rec) }

// arrive reads a record.
func arrive(r *stream.Reader) arrived {
	rec, err := r.Next()
	if err == io.EOF {
		err = stream.ErrTruncated
	}
	return arrived{rec, r.Totals().Records - 1, r.Offset(), err}
}

// arrivals reads, on another CPU, the metadata of a stream, decodes on one more the
// records that are likely to be asked for, and returns them in order, as many at once as
// there are. Nothing is read behind the last of them. stop may be called at any time.
func arrivals(r *stream.Reader) (next func() []arrived, stop func()) {
	read, decoded := newBelt(), newBelt()
	go func() {
		for {
			a := arrive(r)
			if !read.put(a) || a.last() {
				return
			}
		}
	}()
	go func() {
		for {
			batch := read.take()
			for i := range batch {
				if rec := batch[i].rec; rec != nil && len(rec.Meta) <= mostAhead {
					rec.DecodeAhead()
				}
			}
			if !decoded.put(batch...) || batch[len(batch)-1].last() {
				return
			}
		}
	}()
	return decoded.take, func() { read.stop(); decoded.stop() }
}

const (
	// fewRecords are not worth waking other CPUs for.
	fewRecords = 1024
	// mostAhead is the longest record that is decoded before anybody asks for it, in bytes.
	mostAhead = 16 << 10
	// mostWaiting is how many bytes of records may wait on a belt.
	mostWaiting = 1 << 20
)

// belt carries records from one goroutine to another.
type belt struct {
	mu      sync.Mutex
	moved   sync.Cond
	waiting []arrived
	bytes   int // about how much memory they take
	stopped bool
}

func newBelt() *belt {
	b := new(belt)
	b.moved.L = &b.mu
	return b
}

// put adds records, when there is room for any. It reports whether anybody still wants them.
func (b *belt) put(a ...arrived) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.bytes >= mostWaiting && !b.stopped {
		b.moved.Wait()
	}
	b.waiting = append(b.waiting, a...)
	for i := range a {
		if b.bytes += recordBytes; a[i].rec != nil {
			b.bytes += len(a[i].rec.Meta)
		}
	}
	b.moved.Signal()
	return !b.stopped
}

// take returns all records that are there, at least one.
func (b *belt) take() []arrived {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.waiting) == 0 && !b.stopped {
		b.moved.Wait()
	}
	if b.stopped {
		return []arrived{{err: io.ErrClosedPipe}}
	}
	taken := b.waiting
	b.waiting, b.bytes = nil, 0
	b.moved.Signal()
	return taken
}

// stop ends the waiting of both sides.
func (b *belt) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	b.moved.Broadcast()
}

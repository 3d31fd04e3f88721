package image

import (
	"context"
	"io"

	"golang.org/x/sync/errgroup"
)

// batch is a run of frames without gaps that is read and checked at once.
type batch struct {
	frames []dataFrame
	bytes  int
}

// maxBatchFrames bounds a batch of tiny frames.
const maxBatchFrames = 256

// Verify checks an image of the given size in bytes without decompressing it: header, index, seek table,
// the CRC32C of each data frame, and that the frames fill the file. threads is as in ReaderOptions. It
// can't find damage whose checksums were made to match; a Reader finds that, too.
//
// A file that doesn't end with a seek table is reported as ErrTruncated, also when something was appended to it.
func Verify(f io.ReaderAt, size int64, threads int) error {
	threads, err := threadCount(threads)
	if err != nil {
		return err
	}
	t, err := openTail(f, size)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(context.Background())
	work := make(chan batch, threads)
	for range threads {
		group.Go(func() error { return verifyBatches(f, work) })
	}
	group.Go(func() error {
		defer close(work)
		return t.batches(ctx, work)
	})
	return group.Wait()
}

// batches sends all data frames to work.
func (t *tail) batches(ctx context.Context, work chan<- batch) error {
	var b batch
	send := func() bool {
		select {
		case work <- b:
		case <-ctx.Done():
			return false
		}
		b = batch{}
		return true
	}
	for e, err := range t.frames() {
		if err != nil {
			return err
		}
		full := b.bytes+int(e.size) > maxFrameBytes || len(b.frames) == maxBatchFrames
		if full && !send() {
			return nil
		}
		b.frames = append(b.frames, e)
		b.bytes += int(e.size)
	}
	if b.bytes > 0 {
		send()
	}
	return nil
}

// verifyBatches checks frames until there are no more or one is bad.
func verifyBatches(f io.ReaderAt, work <-chan batch) error {
	buf := make([]byte, maxFrameBytes)
	for b := range work {
		first := b.frames[0]
		if err := readAt(f, buf[:b.bytes], first.offset, first.number, "a data frame"); err != nil {
			return err
		}
		for _, e := range b.frames {
			at := e.offset - first.offset
			if err := e.checkFrame(buf[at : at+int64(e.size)]); err != nil {
				return &FrameError{Offset: e.offset, Frame: e.number, Err: err}
			}
		}
	}
	return nil
}

// Package write turns a stream into an image and makes it durable.
package write

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"ckpt/internal/hold"
	"ckpt/internal/image"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Tool is the name this filter signs its records with.
const Tool = "ckpt-write"

// Options are what the user asks for.
type Options struct {
	Level   int
	Threads int
	Output  string                           // a file; "" for standard output
	Step    func(format string, args ...any) // something for -v
	Note    func(format string, args ...any) // something the user should know
}

// Run reads a stream from in and writes its image to out or to the file the
// options name, which appears there complete or not at all.
func Run(ctx context.Context, o Options, in, out *os.File) error {
	d, err := newDest(o.Output, out)
	if err != nil {
		return err
	}
	if d.open() {
		o.Note("standard output is a file that others may read, and the image has all the program's memory; -o FILE makes one that only its owner reads")
	}
	sys.GrowPipes(in)
	t := &transfer{Options: o, in: in, out: d.f, pump: stream.Pump{Reader: stream.NewReader(in)}}
	bytes, err := t.run(ctx)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = d.commit()
	}
	if err == nil && t.killed && !d.durable() {
		// Who stores what goes into the pipe holds the target when it has read that.
		err = sys.Drain(ctx, d.f)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		err = errors.Join(err, d.discard())
		if herr := t.holder.Failed(); herr != nil && !errors.Is(herr, hold.ErrGone) {
			err = errors.Join(err, herr)
		}
		return err
	}
	total := t.pump.Reader.Totals()
	o.Step("%d bytes of stream in an image of %d bytes", total.MetaBytes+total.DataBytes, bytes)
	return t.report(d.durable(), bytes)
}

// transfer is one image in the making.
type transfer struct {
	Options
	in     *os.File
	out    io.Writer
	pump   stream.Pump
	img    *image.Writer
	holder *hold.Holder
	killed bool // the target is to be
	bulk   bool // has begun
}

// run writes the image and returns its size in bytes.
func (t *transfer) run(ctx context.Context) (int64, error) {
	t.pump.Header, t.pump.Edit = t.begin, t.edit
	err := t.pump.Run(ctx)
	if t.img == nil {
		return 0, err
	}
	defer t.img.Abort()
	if err != nil {
		return 0, err
	}
	t.holder.InputRead()
	if err := t.img.Close(); err != nil {
		return 0, err
	}
	return t.img.Written(), nil
}

// begin sees HEADER, and begins the image.
func (t *transfer) begin(first *stream.Record) (err error) {
	if err := t.take(first); err != nil {
		return err
	}
	t.holder.Beat(t.in)
	if t.img, err = image.NewWriter(t.out, image.WriterOptions{Level: t.Level, Threads: t.Threads}); err != nil {
		return err
	}
	t.pump.Writer = stream.NewWriter(t.img)
	return nil
}

// edit passes a record on. A reader of the metadata alone stops before the first
// bulk record.
func (t *transfer) edit(w *stream.Writer, rec *stream.Record, data io.Reader) error {
	if rec.Flags&record.Bulk != 0 && !t.bulk {
		t.bulk = true
		if err := errors.Join(w.Flush(), t.img.Cut()); err != nil {
			return err
		}
	}
	return w.Write(rec, data)
}

// ErrRaw: nobody could restore the image, and no filter can help it later.
var ErrRaw = errors.New("the stream is as ckpt-collect wrote it, and its image could not be restored")

// take takes the target's hold, if it is on this host and not gone: nothing
// here depends on it but the target's fate.
func (t *transfer) take(first *stream.Record) error {
	var h record.Header
	if err := first.Decode(&h); err != nil {
		return err
	}
	if h.Stage != record.StageShared {
		return ErrRaw
	}
	t.killed = h.Leave == record.LeaveKilled
	t.holder = hold.TakeToStore(&h, "write", t.Step, t.Note)
	return nil
}

// report tells the collector.
func (t *transfer) report(durable bool, bytes int64) error {
	if t.holder == nil {
		return nil
	}
	var err error
	if durable {
		err = t.holder.Committed(bytes)
	} else {
		err = t.holder.OK()
	}
	if errors.Is(err, hold.ErrGone) {
		return nil
	}
	return err
}

// dest is where the image goes.
type dest struct {
	f    *os.File
	path string // of the file to become, or ""
}

// newDest opens it. A file is written under another name beside its own.
func newDest(path string, stdout *os.File) (*dest, error) {
	if path == "" {
		return &dest{f: stdout}, nil
	}
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file; write to it with > instead of -o", path)
	}
	f, err := createBeside(path)
	if err != nil {
		return nil, fmt.Errorf("image file: %w", err)
	}
	return &dest{f: f, path: path}, nil
}

// Package commit ends a pipeline with a program that stores what comes: it holds the
// target until that program has read all of it and has ended well.
package commit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/hold"
	"ckpt/internal/image"
	"ckpt/internal/move"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Tool is the name this filter signs its records with.
const Tool = "ckpt-commit"

// ErrRaw: nobody could restore what the program would store.
var ErrRaw = errors.New("the stream is as ckpt-collect wrote it, and could not be restored")

// ErrNotKilled: what was stored is whole, but of a program that runs on: started from
// that, there would be two.
var ErrNotKilled = errors.New("it is stored, but ckpt-collect has not waited for that, so the target was not killed and runs on")

// Options are what the user asks for.
type Options struct {
	Program *Program
	Move    time.Duration                    // not 0: hand the target over, answers being waited for so long
	Step    func(format string, args ...any) // something for -v
	Note    func(format string, args ...any) // something the user should know
}

// Run gives the stream or the image on in to the program, and tells the collector
// that it is stored when all of it was good, the program has read it to the end, and
// has ended with exit status 0.
func Run(ctx context.Context, o Options, in *os.File) error {
	sys.GrowPipes(in)
	t := &transfer{Options: o, in: in}
	err := t.run(ctx)
	if ctx.Err() != nil && !t.handed {
		err = context.Cause(ctx)
	}
	if t.handed && err != nil {
		// What is to become of the target stands in its record. If it is undecided, ckpt-collect
		// hears of us no sooner than we can say so, or else says it.
		if !errors.Is(err, move.ErrUndecided) {
			_ = t.holder.Failed()
		}
		t.Program.hangUp(ctx)
		_ = t.holder.Failed()
		return err
	}
	if err != nil {
		return t.giveUp(err)
	}
	if o.Move > 0 {
		o.Step("it runs on the other side, and was ended here")
		return nil
	}
	o.Step("%s has %d bytes of it, and ended well", o.Program, t.bytes)
	if err := t.holder.Committed(t.bytes); errors.Is(err, hold.ErrGone) && t.killed {
		return ErrNotKilled
	} else if errors.Is(err, hold.ErrGone) {
		o.Note("it is stored, but ckpt-collect has not waited for that")
	} else if err != nil {
		return err
	}
	return nil
}

// transfer is what is on its way to the program.
type transfer struct {
	Options
	in     *os.File
	bytes  int64
	pump   stream.Pump // of a stream
	holder *hold.Holder
	killed bool   // the target is to be, when all is stored
	handed bool   // all was given to the program, and it is for the other side to answer
	check  string // the checkpoint's id
	mover  *mover // with Move
}

// run passes all on and waits for the program's end.
func (t *transfer) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.Program.stop = cancel
	first, ok, err := sys.FirstByte(t.in)
	if err != nil {
		return err
	}
	pass := t.stream
	if ok && first == image.FirstByte {
		pass = t.image
	}
	err = pass(ctx)
	if t.mover != nil {
		close(t.mover.full)
		<-t.mover.silent
	}
	if err != nil {
		return err
	}
	t.holder.InputRead()
	if t.Move > 0 {
		t.handed = true
		err := t.mover.handOver(ctx)
		if err == nil {
			t.Program.hangUp(ctx)
		}
		return err
	}
	return t.Program.finish(ctx)
}

// stream passes a stream on.
func (t *transfer) stream(ctx context.Context) error {
	t.pump.Reader = stream.NewReader(t.in)
	t.pump.Header = func(first *stream.Record) error {
		if err := t.begin(first); err != nil {
			return err
		}
		t.pump.Writer = stream.NewWriter(t.Program.in)
		return nil
	}
	err := t.pump.Run(ctx)
	total := t.pump.Reader.Totals()
	t.bytes = total.MetaBytes + total.DataBytes
	return err
}

// image passes an image on.
func (t *transfer) image(ctx context.Context) error {
	img := image.NewPasser(t.in)
	b, err := img.Begin()
	if err != nil {
		return err
	}
	first, err := stream.NewReader(bytes.NewReader(b)).Next()
	if err != nil {
		return err
	}
	if err := t.begin(first); err != nil {
		return err
	}
	t.bytes, err = img.WriteTo(&stoppable{ctx, t.Program.in})
	return err
}

// stoppable is a writer until ctx ends.
type stoppable struct {
	ctx context.Context
	w   io.Writer
}

func (s *stoppable) Write(b []byte) (int, error) {
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	return s.w.Write(b)
}

// begin sees HEADER: it takes the hold and starts the program.
func (t *transfer) begin(first *stream.Record) error {
	var h record.Header
	if err := first.Decode(&h); err != nil {
		return err
	}
	if h.Stage != record.StageShared {
		return ErrRaw
	}
	t.killed, t.check = h.Leave == record.LeaveKilled, h.Checkpoint
	t.holder = hold.TakeToStore(&h, "commit", t.Step, t.Note)
	t.holder.Beat(t.in)
	if t.Move > 0 {
		t.Program.Answers = true
		if err := t.ready(); err != nil {
			return err
		}
	}
	if err := t.Program.start(); err != nil || t.Move == 0 {
		return err
	}
	t.mover = &mover{timeout: t.Move, program: t.Program, holder: t.holder, check: t.check, step: t.Step,
		line: move.NewLine(t.Program.answers, t.Program.in), full: make(chan struct{}), silent: make(chan struct{})}
	go t.mover.listen()
	return nil
}

// giveUp lets the target run on, has the program end without an end of its input
// that could look like a good one, and returns the cause: how the program ended, if
// that is it.
func (t *transfer) giveUp(err error) error {
	held := t.holder != nil
	if herr := t.holder.Failed(); herr != nil && !errors.Is(herr, hold.ErrGone) {
		err = errors.Join(err, herr)
	}
	if t.Program.cmd == nil {
		return err
	}
	var end *EndError
	switch ended := errors.As(err, &end); {
	case !ended && errors.Is(err, unix.EPIPE): // it reads no more
		end = t.Program.end(true)
	case !ended:
		t.Program.terminate()
		if t.pump.Writer != nil {
			t.pump.Writer.Abort(Tool, err)
		}
		fallthrough
	default:
		t.Program.end(false)
	}
	if end != nil {
		end.Held = held
		return end
	}
	return err
}

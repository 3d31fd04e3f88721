// Package read turns an image back into the stream.
package read

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	"ckpt/internal/image"
	"ckpt/internal/move"
	"ckpt/internal/sys"
	"ckpt/stream"
)

// Tool is the name this filter signs its records with.
const Tool = "ckpt-read"

// Options are what the user asks for.
type Options struct {
	Threads int
	Step    func(format string, args ...any) // something for -v
}

// Run reads an image from in and writes its stream to out. A file is verified
// from end to end before the first record goes out; from a pipe each frame is
// verified before it does.
func Run(ctx context.Context, o Options, in, out *os.File) error {
	sys.GrowPipes(in, out)
	w := stream.NewWriter(out)
	asked, err := question(in, out)
	if asked || err != nil {
		return err
	}
	err = run(ctx, o, in, out, w)
	if err != nil {
		w.Abort(Tool, err)
	}
	return err
}

func run(ctx context.Context, o Options, in, out *os.File, w *stream.Writer) error {
	if st, err := in.Stat(); err == nil && st.Mode().IsRegular() {
		at, err := in.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if err := image.Verify(io.NewSectionReader(in, at, st.Size()-at), st.Size()-at, o.Threads); err != nil {
			return err
		}
		o.Step("image of %d bytes verified", st.Size()-at)
	}
	img := image.NewReader(in, image.ReaderOptions{Threads: o.Threads, Tail: move.Prefix})
	defer img.Close()
	p := stream.Pump{Reader: stream.NewReader(img), Writer: w}
	if err := p.Run(ctx); err != nil {
		return imageError(err)
	}
	// Behind END the image is known to be whole. What is said behind it is for ckpt-apply.
	_, err := io.Copy(out, img.Rest())
	return err
}

// question passes on what is for ckpt-apply, where that comes in place of an image: somebody
// asks what became of a move.
func question(in, out *os.File) (asked bool, err error) {
	first, ok, err := sys.FirstByte(in)
	if err != nil || !ok || first != move.Prefix[0] {
		return false, nil // reading tells
	}
	head, ok, err := move.Follows(in)
	if err == nil && !ok {
		err = image.ErrForeign
	}
	if err == nil {
		_, err = io.Copy(out, io.MultiReader(bytes.NewReader(head), in))
	}
	return true, err
}

// imageError prefers what package image found wrong to what it led to.
func imageError(err error) error {
	var fe *image.FrameError
	if errors.As(err, &fe) {
		return fe
	}
	return err
}

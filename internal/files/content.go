package files

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/stream"
)

// Content asks for the bytes of f to be sent under an object's number, once
// for all encounters with the same identity, and closes f afterwards.
func (c *Collector) Content(id uint64, identity string, f *os.File) {
	if c.sent[identity] {
		f.Close()
		return
	}
	if c.sent == nil {
		c.sent = map[string]bool{}
	}
	c.sent[identity] = true
	c.Bulk(func(w *stream.Writer, byReference func() bool) error {
		defer f.Close()
		return sendContent(w, id, f, byReference)
	})
}

// sendContent writes CONTENT records for what of f is not a hole.
func sendContent(w *stream.Writer, id uint64, f *os.File, byReference func() bool) error {
	for at := int64(0); ; {
		start, err := f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		end, err := f.Seek(start, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		for at = start; at < end; {
			n := min(end-at, stream.DataChunkBytes)
			rec, err := stream.New(stream.TypeContent, &stream.Content{Offset: at, Refs: stream.InodeRef{Inode: id}})
			if err != nil {
				return err
			}
			rec.DataLen = n
			if _, err := f.Seek(at, io.SeekStart); err != nil {
				return err
			}
			var src io.Reader = f
			if !byReference() {
				src = io.LimitReader(f, n) // hides the file: copied, not spliced
			}
			if err := w.Write(rec, src); err != nil {
				return err
			}
			at += n
		}
	}
}

// contentTarget is an object whose bytes come in the stream. The file is nil
// when the object has its bytes already.
type contentTarget interface {
	ContentFile() (*os.File, error)
}

// Fill puts the bytes of a CONTENT record in place.
func (r *Restorer) Fill(rec *stream.Record, data io.Reader) error {
	c, err := decode[stream.Content](rec)
	if err != nil {
		return err
	}
	obj, err := r.Hash.Get(c.Refs.Inode)
	if err != nil {
		return err
	}
	target, ok := obj.(contentTarget)
	if !ok || c.Offset < 0 {
		return fmt.Errorf("%w: content at %d of object %d, which takes none there", stream.ErrCorrupt, c.Offset, c.Refs.Inode)
	}
	f, err := target.ContentFile()
	if err != nil || f == nil {
		return err
	}
	n, err := io.Copy(io.NewOffsetWriter(contentWriter(target, f), c.Offset), data)
	if err != nil {
		return fmt.Errorf("write to %s: %w", f.Name(), err)
	}
	if n != rec.DataLen {
		return stream.ErrTruncated
	}
	return nil
}

package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Content arranges for the bytes of the file that a link in /proc leads to to be
// sent under an object's number, once per identity. The file is opened again when
// its turn comes, because there may be more files than this process may have
// descriptors.
func (c *Collector) Content(id uint64, identity, link string) error {
	if !c.first(identity) {
		return nil
	}
	var st unix.Stat_t
	f, err := open(link, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Fstat(int(f.Fd()), &st), f.Close()); err != nil {
		return &os.PathError{Op: "fstat", Path: link, Err: err}
	}
	c.contents = append(c.contents, func(w *stream.Writer, byReference func() bool) error {
		f, err := open(link, unix.O_RDONLY|unix.O_NONBLOCK)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := isStill(f, &st); err != nil {
			return err
		}
		return sendContent(w, id, f, byReference)
	})
	return nil
}

// ContentFrom arranges for the bytes of a file to be sent under an object's number. It is
// opened when its turn comes.
func (c *Collector) ContentFrom(id uint64, open func() (*os.File, error)) {
	c.contents = append(c.contents, func(w *stream.Writer, byReference func() bool) error {
		f, err := open()
		if err != nil {
			return err
		}
		defer f.Close()
		return sendContent(w, id, f, byReference)
	})
}

// Tail arranges for what a file of shared memory has behind its end, in the rest of its last
// page, to be sent as ContentFrom does. Only a mapping shows it.
func (c *Collector) Tail(id uint64, open func() (*os.File, error)) {
	c.contents = append(c.contents, func(w *stream.Writer, _ func() bool) error {
		f, err := open()
		if err != nil {
			return err
		}
		defer f.Close()
		return sendTail(w, id, f)
	})
}

func sendTail(w *stream.Writer, id uint64, f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	end := st.Size() &^ (abi.PageBytes - 1)
	if end == st.Size() {
		return nil
	}
	page, err := unix.Mmap(int(f.Fd()), end, abi.PageBytes, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return &os.PathError{Op: "mmap", Path: f.Name(), Err: err}
	}
	text := bytes.Clone(page[st.Size()-end:])
	if err := unix.Munmap(page); err != nil {
		return os.NewSyscallError("munmap", err)
	}
	if len(bytes.Trim(text, "\x00")) == 0 {
		return nil
	}
	rec, err := stream.New(record.TypeContent, &record.Content{Offset: st.Size(), Refs: record.InodeRef{Inode: id}})
	if err != nil {
		return err
	}
	rec.DataLen = int64(len(text))
	return w.Write(rec, bytes.NewReader(text))
}

// TailOf is Tail of the file that a link leads to, once per identity.
func (c *Collector) TailOf(id uint64, identity, link string) {
	if c.first(identity + " tail") {
		c.Tail(id, func() (*os.File, error) { return open(link, unix.O_RDONLY) })
	}
}

// first reports whether this is the first call with this identity.
func (c *Collector) first(identity string) bool {
	if c.sent[identity] {
		return false
	}
	if c.sent == nil {
		c.sent = map[string]bool{}
	}
	c.sent[identity] = true
	return true
}

// isStill makes sure that the file opened again is the one that was described.
func isStill(f *os.File, st *unix.Stat_t) error {
	var now unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &now); err != nil {
		return &os.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	if now.Dev != st.Dev || now.Ino != st.Ino {
		return fmt.Errorf("%s is no longer the file that was described", f.Name())
	}
	return nil
}

// sendContent writes CONTENT records for the parts of f that are not holes.
func sendContent(w *stream.Writer, id uint64, f *os.File, byReference func() bool) error {
	return sys.EachPart(f, stream.DataChunkBytes, func(at, n int64) error {
		rec, err := stream.New(record.TypeContent, &record.Content{Offset: at, Refs: record.InodeRef{Inode: id}})
		if err != nil {
			return err
		}
		rec.DataLen = n
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			return err
		}
		var src io.Reader = f
		if !byReference() {
			src = io.LimitReader(f, n) // hides the file, so that it is copied and not spliced
		}
		return w.Write(rec, src)
	})
}

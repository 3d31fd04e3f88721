package ipc

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Collector describes the IPC namespace that this process, and everybody of a tree that
// stands still, is in.
type Collector struct {
	Emit  func(t record.Type, meta any) error
	NewID func() uint64
	// Block notes something that stands in the way of a checkpoint.
	Block func(reason error)
	// InTree reports whether a process is of the tree.
	InTree func(pid int) bool
	// Mapped is how many mappings of the tree are of each segment.
	Mapped map[int]int
	// Content has the bytes of a file sent under an object's number.
	Content func(id uint64, open func() (*os.File, error))
	// Tail does the same for what is behind the end of the file, in its last page.
	Tail func(id uint64, open func() (*os.File, error))

	send []func(w *stream.Writer) error
}

// Collect describes everything but what is open or mapped.
func (c *Collector) Collect() error { return errors.Join(c.segments(), c.semSets(), c.msgQueues()) }

// Send sends the messages.
func (c *Collector) Send(w *stream.Writer) error {
	for _, send := range c.send {
		if err := send(w); err != nil {
			return err
		}
	}
	return nil
}

func (c *Collector) object(t record.Type, id int) record.Object {
	return record.Object{ID: c.NewID(), Ident: fmt.Appendf(nil, "%v %d", t, id)}
}

// segments describes those that nobody has attached, and compares how often the others are
// attached with how often the tree has mapped one: whoever has left the namespace keeps what he
// had attached, and a segment of another namespace looks like one of this.
func (c *Collector) segments() error {
	all, err := proc.ReadSysVIPC("shm")
	if err != nil {
		return err
	}
	forced, err := proc.ReadSysctls(rmidForced)
	if err != nil {
		return err
	}
	known := map[int]bool{}
	for i := range all {
		s := &all[i]
		known[s.ID] = true
		attached, mapped := int(s.Counts["nattch"]), c.Mapped[s.ID]
		switch {
		case attached != mapped:
			c.Block(fmt.Errorf("has in its IPC namespace the shared memory %d (System V), which is attached %d times, and %d times in the tree: somebody else has it, or it has one of another namespace with the same id", s.ID, attached, mapped))
		case attached > 0:
		case len(forced) == 1 && forced[0] != 0:
			c.Block(cli.WithHint(fmt.Errorf("has in its IPC namespace the shared memory %d (System V), which nobody has attached; where kernel.shm_rmid_forced is set, to look at it would end it", s.ID), "set kernel.shm_rmid_forced in that namespace to 0"))
		default:
			if err := c.segment(s); err != nil {
				return fmt.Errorf("shared memory %d (System V): %w", s.ID, err)
			}
		}
	}
	for id := range c.Mapped {
		if !known[id] {
			c.Block(fmt.Errorf("has attached the shared memory %d (System V) of another IPC namespace than it is in, which can't be saved", id))
		}
	}
	return nil
}

// segment describes one that nobody has attached.
func (c *Collector) segment(s *proc.SysVIPC) error {
	rec := &record.SysVShm{Object: c.object(record.TypeSysVShm, s.ID), ShmID: s.ID, Key: s.Key, Size: s.Counts["size"], Mode: s.Mode, UID: s.UID, GID: s.GID,
		Creator: &record.SysVCreator{UID: s.CUID, GID: s.CGID}}
	open := func() (*os.File, error) { return openSegment(s.ID, rec.Size) }
	f, err := open()
	if err != nil {
		return err
	}
	defer f.Close()
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	if fs.Type == unix.HUGETLBFS_MAGIC {
		rec.HugePage = uint64(fs.Bsize)
	}
	c.Content(rec.ID, open)
	if rec.HugePage == 0 {
		c.Tail(rec.ID, open)
	}
	return c.Emit(record.TypeSysVShm, rec)
}

// openSegment opens a segment, which may have huge pages.
func openSegment(id int, size uint64) (f *os.File, err error) {
	for _, page := range []uint64{4 << 10, 2 << 20, 1 << 30} {
		if f, err = sys.OpenShm(id, (size+page-1)&^(page-1)); !errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	return f, err
}

// writeText writes a record with a message.
func writeText(w *stream.Writer, rec *stream.Record, text []byte) error {
	rec.DataLen = int64(len(text))
	return w.Write(rec, bytes.NewReader(text))
}

package files

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/object"
	"ckpt/stream"
	"ckpt/stream/record"
)

// maxEventCount is the largest count that write(2) allows in an eventfd; one more
// stands for an overflow, which only the kernel itself can cause.
const maxEventCount = 1<<64 - 2

// eventfdKind: eventfds. All share one inode, but each has an id of its own.
var eventfdKind = Kind{
	Type: record.TypeEventFD,
	Save: func(c *Collector) Saver {
		return Saver{Match: func(s *Subject) bool { return isAnon(s, "[eventfd]") }, Collect: c.eventFD}
	},
	Restore: func(r *Restorer) Maker {
		return Maker{Kind: object.Kind{Check: checkEventFD, Make: r.makeEventFD}}
	},
}

func checkEventFD(rec *stream.Record) []error {
	e, err := decode[record.EventFD](rec)
	if err == nil && e.Count > maxEventCount {
		err = fmt.Errorf("%w: eventfd with a count of %d", stream.ErrCorrupt, e.Count)
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

func (c *Collector) eventFD(s *Subject) (uint64, error) {
	if c.blockPath(s) {
		return 0, nil
	}
	e, err := s.Info.EventFD()
	if err != nil {
		return 0, err
	}
	if e.Count > maxEventCount {
		c.Block(s.PID, fmt.Errorf("fd %d is an eventfd that overflowed, which can't be saved until the program has read it", s.FD))
		return 0, nil
	}
	rec := record.EventFD{
		Object: record.Object{ID: c.NewID(), Ident: ident(record.TypeEventFD, 0, e.ID)},
		Count:  e.Count, Semaphore: e.Semaphore,
	}
	return rec.ID, c.Emit(record.TypeEventFD, &rec)
}

func (r *Restorer) makeEventFD(rec *stream.Record) (object.Object, error) {
	e, err := decode[record.EventFD](rec)
	if err != nil {
		return nil, err
	}
	flags := unix.EFD_CLOEXEC
	if e.Semaphore {
		flags |= unix.EFD_SEMAPHORE
	}
	fd, err := unix.Eventfd(0, flags)
	if err != nil {
		return nil, fmt.Errorf("make an eventfd: %w", err)
	}
	if e.Count > 0 {
		if _, err := unix.Write(fd, binary.NativeEndian.AppendUint64(nil, e.Count)); err != nil {
			return nil, errors.Join(fmt.Errorf("put %d into an eventfd: %w", e.Count, err), unix.Close(fd))
		}
	}
	return r.newSingle(fd, "an eventfd")
}

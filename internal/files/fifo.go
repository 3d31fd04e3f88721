package files

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/object"
	"ckpt/stream"
	"ckpt/stream/record"
)

// fifoKind: named pipes.
var fifoKind = Kind{
	Type: record.TypeFifo,
	Data: []record.Type{record.TypePipeData},
	Save: func(c *Collector) Saver {
		p := newPipeEnds(c)
		return Saver{Look: p.look, Match: func(s *Subject) bool { return isMode(s, unix.S_IFIFO) }, Collect: p.collectFifo, Send: p.send}
	},
	Restore: func(r *Restorer) Maker {
		return Maker{Kind: object.Kind{Check: r.checkFifo, Here: r.fifoHere, Make: r.makeFifo}, Thing: pathThing}
	},
}

func (e *pipeEnds) collectFifo(s *Subject) (uint64, error) {
	c := e.c
	fifo := record.Fifo{Object: record.Object{ID: c.NewID(), Ident: ident(record.TypeFifo, s.Stat.Dev, s.Stat.Ino)}, Stat: statOf(s)}
	there, known := c.isThere(s)
	if !known {
		return 0, nil
	}
	if !there {
		c.Block(s.PID, fmt.Errorf("%s is a FIFO that was deleted (%s), which can't be saved", where(s), s.Target))
		return 0, nil
	}
	if s.FD >= 0 && s.Info.Flags&unix.O_PATH == 0 {
		f, err := borrow(s)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		capacity, err := unix.FcntlInt(f.Fd(), unix.F_GETPIPE_SZ, 0)
		if err != nil {
			return 0, os.NewSyscallError("fcntl", err)
		}
		if err := e.unread(s, f); err != nil {
			return 0, err
		}
		fifo.Capacity = int64(capacity)
		e.data(fifo.ID, string(fifo.Ident), s, capacity)
	}
	return fifo.ID, c.Emit(record.TypeFifo, &fifo)
}

// unread blocks a FIFO with bytes in it that nobody has open to read. To look at them we
// would have to open it to read, which its writers may be waiting for.
func (e *pipeEnds) unread(s *Subject, f *os.File) error {
	if e.readers[s.Stat.Ino] {
		return nil
	}
	others, err := otherEnd(f, s.Info.Flags)
	if others || err != nil {
		return err
	}
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCINQ)
	if n > 0 {
		e.c.Block(s.PID, fmt.Errorf("fd %d is the FIFO %s with %d bytes in it, which nobody has open to read and which can't be saved", s.FD, s.Target, n))
	}
	return os.NewSyscallError("ioctl", err)
}

func (r *Restorer) checkFifo(rec *stream.Record) []error {
	f, err := decode[record.Fifo](rec)
	if err == nil {
		err = checkCapacity(f.Capacity)
	}
	if err != nil {
		return []error{err}
	}
	return r.fifo(f).check()
}

func (r *Restorer) fifoHere(rec *stream.Record) []error {
	f, err := decode[record.Fifo](rec)
	if err != nil {
		return nil
	}
	return r.capacityHere(f.Path, f.Capacity)
}

func (r *Restorer) fifo(f *record.Fifo) *named {
	const what = "a FIFO"
	return r.named(f.Objref, &f.Stat, what, isType(f.Path, unix.S_IFIFO, what))
}

// makeFifo opens a FIFO for both directions, which never waits for another
// process. If there are bytes in it, somebody else is using it.
func (r *Restorer) makeFifo(rec *stream.Record) (object.Object, error) {
	fifo, err := decode[record.Fifo](rec)
	if err != nil {
		return nil, err
	}
	path := r.fifo(fifo)
	f, err := path.Open(os.O_RDWR | unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	waiting, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCINQ)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", fifo.Path, err), f.Close())
	}
	if fifo.Capacity > 0 {
		if err := setCapacity(f, fifo.Capacity); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", fifo.Path, err), f.Close())
		}
	}
	w, err := reopen(f, unix.O_RDWR|unix.O_NONBLOCK)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	p, err := r.newPipe(f, w)
	if err != nil {
		return nil, err
	}
	p.path, p.busy = path, waiting > 0
	return p, nil
}

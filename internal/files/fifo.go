package files

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/object"
	"ckpt/internal/proc"
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
		if err := e.deletedFifo(s, &fifo); err != nil {
			return 0, err
		}
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

// deletedFifo describes a FIFO to which no path leads. It is made anew, so all who have it
// must be in the tree.
func (e *pipeEnds) deletedFifo(s *Subject, fifo *record.Fifo) error {
	fifo.Deleted, fifo.Path = true, strings.TrimSuffix(s.Target, deletedSuffix)
	if s.Stat.Nlink != 0 {
		e.c.Block(s.PID, fmt.Errorf("%s is the FIFO %s, which has other names but no longer this one, and which can't be saved", where(s), fifo.Path))
		return nil
	}
	if !e.readers[s.inode()] && !e.writers[s.inode()] {
		e.c.Block(s.PID, fmt.Errorf("fd %d is an O_PATH descriptor of the FIFO %s, which was deleted and which nobody in the tree has open otherwise, and which can't be saved", s.FD, fifo.Path))
		return nil
	}
	if s.Info.Flags&unix.O_PATH == 0 {
		who, err := e.outsider(s)
		if err != nil {
			return err
		}
		if who != "" {
			e.c.Block(s.PID, cli.WithHint(fmt.Errorf("fd %d is the FIFO %s, which was deleted and which %s has open, too, and which can't be saved", s.FD, fifo.Path, who),
				"save a tree that has both"))
		}
	}
	var err error
	fifo.Xattrs, err = xattrsOf(s.Link)
	return err
}

// outsider tells who outside the tree has a deleted FIFO open, "" if nobody. It searches once
// for all FIFOs; the other end shows also one that can't be looked at.
func (e *pipeEnds) outsider(s *Subject) (who string, err error) {
	if e.holders == nil {
		e.holders = map[inodeKey]int{}
		e.unseen = e.c.eachOutside(e.patience, func(pid, fd int, link string) {
			if pid == os.Getpid() || !strings.HasPrefix(link, "/") || !strings.HasSuffix(link, deletedSuffix) {
				return
			}
			st, err := quietStat(unix.AT_FDCWD, proc.Usual.Path(pid, fmt.Sprintf("fd/%d", fd)), unix.STATX_TYPE|unix.STATX_INO)
			if err == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
				e.holders[inodeKey{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}] = pid
			}
		})
	}
	if pid := e.holders[s.inode()]; pid != 0 {
		return proc.Usual.Named(pid) + " outside", nil
	}
	if !(e.readers[s.inode()] && e.writers[s.inode()]) {
		f, err := borrow(s)
		if err != nil {
			return "", err
		}
		others, err := otherEnd(f, s.Info.Flags)
		if err := errors.Join(err, f.Close()); others || err != nil {
			return "a program outside", err
		}
	}
	if e.unseen > 0 {
		return fmt.Sprintf("perhaps one of %d processes, which could not be searched within %v,", e.unseen, e.patience), nil
	}
	return "", nil
}

// unread blocks a FIFO with bytes in it that nobody has open to read. To look at them we
// would have to open it to read, which its writers may be waiting for.
func (e *pipeEnds) unread(s *Subject, f *os.File) error {
	if e.readers[s.inode()] {
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
	if err == nil && f.Deleted {
		err = checkDeleted(&f.Stat, f.Xattrs, unix.S_IFIFO)
	}
	if err != nil {
		return []error{err}
	}
	if f.Deleted {
		return nil
	}
	return r.fifo(f).check()
}

func (r *Restorer) fifoHere(rec *stream.Record) []error {
	f, err := decode[record.Fifo](rec)
	if err != nil {
		return nil
	}
	errs := r.capacityHere(f.Path, f.Capacity)
	if f.Deleted {
		errs = append(errs, r.deletedHere(&f.Stat)...)
	}
	return errs
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
	path, closes, err := r.openFifo(fifo)
	if err != nil {
		return nil, err
	}
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
	p.path, p.closes, p.busy = path, closes, waiting > 0
	return p, nil
}

// openFifo finds a FIFO, or makes one that was deleted, of which it returns the reference to
// be closed.
func (r *Restorer) openFifo(fifo *record.Fifo) (path opener, closes io.Closer, err error) {
	if !fifo.Deleted {
		return r.fifo(fifo), nil, nil
	}
	made, err := r.newNameOff(&fifo.Stat, fifo.Xattrs)
	return made, made, err
}

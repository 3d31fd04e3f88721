package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/depot"
	"ckpt/internal/ends"
	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// pipeKind: pipes. The object is the inode that both ends share; each end is a
// description that refers to it.
var pipeKind = Kind{
	Type: record.TypePipe,
	Data: []record.Type{record.TypePipeData},
	Save: func(c *Collector) Saver {
		p := newPipeEnds(c)
		return Saver{Look: p.look, Match: isPipe, Collect: p.collectPipe, Send: p.send}
	},
	Restore: func(r *Restorer) Maker {
		return Maker{
			Kind:  object.Kind{Check: checkPipe, Here: r.pipeHere, Make: r.makePipe},
			Thing: pipeThing,
		}
	},
}

func isPipe(s *Subject) bool {
	return s.Stat.Mode&unix.S_IFMT == unix.S_IFIFO && !isMode(s, unix.S_IFIFO)
}

func checkPipe(rec *stream.Record) []error {
	p, err := decode[record.Pipe](rec)
	if err == nil {
		err = checkCapacity(p.Capacity)
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

func pipeThing(rec *stream.Record) (*Thing, error) {
	p, err := decode[record.Pipe](rec)
	if err != nil {
		return nil, err
	}
	return &Thing{Name: ends.Pipe(p.Ino), Loose: missingEnd(p)}, nil
}

// missingEnd says, for a message, which end of a pipe is outside the image.
func missingEnd(t *record.Pipe) string {
	switch {
	case t.OutsideReaders:
		return "whose reader is"
	case t.OutsideWriters:
		return "whose writer is"
	}
	return ""
}

func (r *Restorer) makePipe(rec *stream.Record) (object.Object, error) {
	p, err := decode[record.Pipe](rec)
	if err != nil {
		return nil, err
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	// os.Pipe would make them non-blocking, and File.Fd blocking again.
	in, out := os.NewFile(uintptr(fds[0]), "|0"), os.NewFile(uintptr(fds[1]), "|1")
	err = errors.Join(setCapacity(out, p.Capacity), r.chown(out, p.UID, p.GID, fmt.Sprintf("pipe:[%d]", p.Ino)))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pipe: %w", err), in.Close(), out.Close())
	}
	obj, err := r.newPipe(in, out)
	if err != nil {
		return nil, err
	}
	obj.fresh = [2]bool{true, true}
	return obj, nil
}

// pipe is a restored pipe or FIFO with both ends open. An end that the program
// had closed is closed when the last reference here is dropped.
type pipe struct {
	object.Base
	r, w *depot.File
	// fresh says which of the ends that pipe(2) made are not yet used for a
	// description. An end that is opened again has O_LARGEFILE, which those
	// don't.
	fresh [2]bool
	path  opener // of a FIFO
	// closes is what else a FIFO holds; nil if nothing.
	closes io.Closer
	busy   bool // a FIFO that somebody else has open, and that keeps its bytes
}

// opener opens the same file again and again.
type opener interface {
	Open(flags int) (*os.File, error)
}

func (r *Restorer) newPipe(in, out *os.File) (*pipe, error) {
	p := &pipe{}
	var errs [2]error
	p.r, errs[0] = r.Depot.Keep(in)
	p.w, errs[1] = r.Depot.Keep(out)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Open opens an end. Packet mode, O_DIRECT, can be set by fcntl(2) but not by
// open(2).
func (p *pipe) Open(flags int) (*os.File, error) {
	if p.path != nil && flags&(unix.O_PATH|unix.O_NOFOLLOW) != 0 {
		return p.path.Open(flags)
	}
	end, fresh := p.w, &p.fresh[1]
	if flags&unix.O_ACCMODE == unix.O_RDONLY {
		end, fresh = p.r, &p.fresh[0]
	}
	if *fresh && flags&unix.O_ACCMODE != unix.O_RDWR {
		*fresh = false
		return (&single{f: end}).Open(flags)
	}
	f, err := reopenKept(end, flags&^unix.O_DIRECT)
	if err != nil || flags&unix.O_DIRECT == 0 {
		return f, err
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFL, flags&(unix.O_DIRECT|unix.O_NONBLOCK)); err != nil {
		return nil, errors.Join(fmt.Errorf("packet mode of a pipe: %w", err), f.Close())
	}
	return f, nil
}

func (p *pipe) Close() error {
	err := errors.Join(p.r.Close(), p.w.Close())
	if p.closes != nil {
		err = errors.Join(err, p.closes.Close())
	}
	return err
}

// pipeEnds is what a checkpoint knows about pipes, or about FIFOs.
type pipeEnds struct {
	c                *Collector
	readers, writers map[inodeKey]bool // an end is inside the tree
	packets          map[inodeKey]bool // a description is in packet mode
	full             []Sender
	// holders are processes outside the tree by the deleted FIFO that they have open; nil
	// until they are needed
	holders  map[inodeKey]int
	unseen   int           // processes that were not looked at
	patience time.Duration // for that search
}

func newPipeEnds(c *Collector) *pipeEnds {
	return &pipeEnds{c: c, readers: map[inodeKey]bool{}, writers: map[inodeKey]bool{}, packets: map[inodeKey]bool{}, patience: searchLimit}
}

// look notes which ends are inside the tree.
func (e *pipeEnds) look(s *Subject) {
	if s.Stat.Mode&unix.S_IFMT != unix.S_IFIFO || s.Info.Flags&unix.O_PATH != 0 {
		return
	}
	acc, key := s.Info.Flags&unix.O_ACCMODE, s.inode()
	e.readers[key] = e.readers[key] || acc != unix.O_WRONLY
	e.writers[key] = e.writers[key] || acc != unix.O_RDONLY
	e.packets[key] = e.packets[key] || s.Info.Flags&unix.O_DIRECT != 0
}

func (e *pipeEnds) send() []Sender { return e.full }

func (e *pipeEnds) collectPipe(s *Subject) (uint64, error) {
	if e.c.blockPath(s) {
		return 0, nil
	}
	f, err := borrow(s)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	capacity, err := unix.FcntlInt(f.Fd(), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		return 0, os.NewSyscallError("fcntl", err)
	}
	p := record.Pipe{
		Object: record.Object{ID: e.c.NewID(), Ident: ident(record.TypePipe, s.Stat.Dev, s.Stat.Ino)},
		Ino:    s.Stat.Ino, Capacity: int64(capacity), Mode: s.Stat.Mode, UID: s.Stat.Uid, GID: s.Stat.Gid,
	}
	others, err := otherEnd(f, s.Info.Flags)
	if err != nil {
		return 0, err
	}
	p.OutsideReaders = !e.readers[s.inode()] && others
	p.OutsideWriters = !e.writers[s.inode()] && others
	if what := missingEnd(&p); what != "" {
		e.c.noteOutside(s, ends.Pipe(p.Ino), what+" outside", s.Stat.Ino)
	}
	e.data(p.ID, string(p.Ident), s, capacity)
	return p.ID, e.c.Emit(record.TypePipe, &p)
}

// otherEnd reports whether the other end of a pipe is open anywhere, which
// poll(2) of this end shows.
func otherEnd(f *os.File, flags uint32) (bool, error) {
	p := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN | unix.POLLOUT}}
	if err := pollNow(p); err != nil {
		return false, err
	}
	if flags&unix.O_ACCMODE == unix.O_RDONLY {
		return p[0].Revents&unix.POLLHUP == 0, nil
	}
	return p[0].Revents&unix.POLLERR == 0, nil
}

// data arranges for what waits in a pipe to be sent, once. If the reader is
// outside the tree, the data is the reader's and stays in the pipe.
func (e *pipeEnds) data(id uint64, identity string, s *Subject, capacity int) {
	if !e.readers[s.inode()] || s.Info.Flags&unix.O_ACCMODE == unix.O_WRONLY || !e.c.first(identity) {
		return
	}
	packets := e.packets[s.inode()]
	e.full = append(e.full, func(w *stream.Writer, _ func() bool) error {
		f, err := borrow(s)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := isStill(f, &s.Stat); err != nil {
			return err
		}
		return sendPipeData(w, id, f, capacity, packets)
	})
}

// sendPipeData copies what is in the pipe with tee(2), which takes nothing out
// and keeps packets apart.
func sendPipeData(w *stream.Writer, id uint64, f *os.File, capacity int, packets bool) error {
	if n, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCINQ); err != nil || n == 0 {
		return os.NewSyscallError("ioctl", err)
	}
	r, t, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	defer t.Close()
	if _, err := unix.FcntlInt(t.Fd(), unix.F_SETPIPE_SZ, capacity); err != nil {
		return fmt.Errorf("pipe of %d bytes: %w", capacity, err)
	}
	left, err := sys.Tee(int(f.Fd()), int(t.Fd()), capacity)
	if errors.Is(err, unix.EAGAIN) {
		return nil
	}
	if err != nil {
		return err
	}
	buf := make([]byte, stream.DataChunkBytes)
	for left > 0 {
		meta, n := record.PipeData{Refs: record.InodeRef{Inode: id}}, 0
		for n < len(buf) && left > 0 && len(meta.Packets) < 1<<16 {
			k, err := r.Read(buf[n:])
			if err != nil {
				return err
			}
			if packets {
				meta.Packets = append(meta.Packets, int64(k))
			}
			n, left = n+k, left-k
			if packets && len(buf)-n < pipeBuf {
				break // the next packet might not fit
			}
		}
		rec, err := stream.New(record.TypePipeData, &meta)
		if err != nil {
			return err
		}
		rec.DataLen = int64(n)
		if err := w.Write(rec, bytes.NewReader(buf[:n])); err != nil {
			return err
		}
	}
	return nil
}

// Fill writes the bytes of a PIPEDATA record.
func (p *pipe) Fill(rec *stream.Record, data io.Reader) error {
	if p.busy {
		return nil
	}
	d, err := decode[record.PipeData](rec)
	if err != nil {
		return err
	}
	flags := unix.O_WRONLY | unix.O_NONBLOCK
	chunks := d.Packets
	if len(chunks) > 0 {
		flags |= unix.O_DIRECT
	} else {
		chunks = []int64{rec.DataLen}
	}
	w, err := p.Open(flags)
	if err != nil {
		return err
	}
	defer w.Close()
	if rec.DataLen > maxPipeBytes {
		return fmt.Errorf("%w: %d bytes in a pipe", stream.ErrCorrupt, rec.DataLen)
	}
	buf := make([]byte, rec.DataLen)
	if _, err := io.ReadFull(data, buf); err != nil {
		return stream.ErrTruncated
	}
	for _, n := range chunks {
		if n < 0 || n > int64(len(buf)) {
			return fmt.Errorf("%w: packet of %d bytes", stream.ErrCorrupt, n)
		}
		k, err := unix.Write(int(w.Fd()), buf[:n])
		if err == nil && k != int(n) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return fmt.Errorf("refill a pipe with %d bytes: %w", n, err)
		}
		buf = buf[n:]
	}
	return nil
}

const (
	pipeBuf      = 4096 // PIPE_BUF: the most that one packet holds, see pipe(7)
	maxPipeBytes = 16 << 20
)

func checkCapacity(n int64) error {
	if n < 0 || n > 1<<31 {
		return fmt.Errorf("%w: pipe of %d bytes", stream.ErrCorrupt, n)
	}
	return nil
}

func (r *Restorer) pipeHere(rec *stream.Record) []error {
	p, err := decode[record.Pipe](rec)
	if err != nil {
		return nil
	}
	return r.capacityHere(fmt.Sprintf("pipe:[%d]", p.Ino), p.Capacity)
}

// capacityHere: a pipe above the limit takes a capability, see pipe(7).
func (r *Restorer) capacityHere(who string, n int64) []error {
	if limit, err := proc.ReadSysctl("fs/pipe-max-size"); err != nil || n <= limit {
		return nil
	}
	return r.Own.Need(caps.Of(unix.CAP_SYS_RESOURCE), who, fmt.Sprintf("give %%s its capacity of %d bytes", n))
}

func setCapacity(f *os.File, n int64) error {
	now, err := unix.FcntlInt(f.Fd(), unix.F_GETPIPE_SZ, 0)
	if err != nil || int64(now) == n {
		return os.NewSyscallError("fcntl", err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, int(n)); err != nil {
		return fmt.Errorf("capacity of %d bytes, see /proc/sys/fs/pipe-max-size: %w", n, err)
	}
	return nil
}

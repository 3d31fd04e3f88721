package files

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// uringKind: io_urings in which no request is under way, see io_uring(7). The program
// counts its requests, and so does the kernel, which has no way to be told a count: as
// many requests that do nothing go through the new ring. After that, its memory, which
// both share, becomes what it was. How it was set up can't be asked for; what matters to
// a program is found out by trying, and what only says how the work is done is left out.
var uringKind = Kind{
	Type: record.TypeIOUring,
	Data: []record.Type{record.TypeContent},
	Save: func(c *Collector) Saver {
		u := &urings{c: c, seen: map[uint64]*Subject{}, ids: map[uint64]uint64{}}
		return Saver{Look: u.look, Match: isUring, Collect: u.collect, Thread: registeredUrings, Send: func() []Sender { return u.full }}
	},
	Restore: func(r *Restorer) Maker {
		m := &uringMaker{Restorer: r}
		return Maker{Kind: object.Kind{Check: m.check, Make: m.make}}
	},
}

const uringTarget = "anon_inode:[io_uring]"

// What a restore does is bounded: requests, which take some tens of nanoseconds each, and
// calls that make as many of them as there are entries.
const (
	maxUringCount = 1 << 28
	maxUringCalls = 1 << 23
)

// isUring reports whether a descriptor or mapping is that of an io_uring.
func isUring(s *Subject) bool { return s.Target == uringTarget }

// urings is what a checkpoint knows about io_urings.
type urings struct {
	c    *Collector
	seen map[uint64]*Subject // one of its descriptors, by inode number
	ids  map[uint64]uint64   // of their records, by inode number; 0 if it can't be saved
	full []Sender
}

func (u *urings) look(s *Subject) {
	if isUring(s) && u.seen[s.Stat.Ino] == nil {
		u.seen[s.Stat.Ino] = s
	}
}

func (u *urings) collect(s *Subject) (uint64, error) {
	if id, known := u.ids[s.Stat.Ino]; known {
		return id, nil
	}
	u.ids[s.Stat.Ino] = 0
	open := u.seen[s.Stat.Ino]
	if open == nil {
		u.c.Block(s.PID, errors.New("has the memory of an io_uring mapped that no descriptor of the tree leads to, which can't be saved"))
		return 0, nil
	}
	f, err := borrow(open)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := open.Info.Uring()
	if err != nil {
		return 0, err
	}
	rec := record.IOUring{SQEntries: info.SQEntries, CQEntries: info.CQEntries, Count: info.Taken,
		Object: record.Object{ID: u.c.NewID(), Ident: ident(record.TypeIOUring, s.Stat.Dev, s.Stat.Ino)}}
	why := uringObstacle(int(f.Fd()), &info)
	if why == nil {
		rec.Direct, why = uringLayout(int(f.Fd()), &info)
	}
	if why != nil {
		u.c.Block(open.PID, fmt.Errorf("fd %d is an io_uring %w", open.FD, why))
		return 0, nil
	}
	u.ids[s.Stat.Ino] = rec.ID
	u.full = append(u.full, func(w *stream.Writer, _ func() bool) error { return sendUring(w, open, &rec) })
	return rec.ID, u.c.Emit(record.TypeIOUring, &rec)
}

// uringBusy: requests are under way, or not yet taken.
type uringBusy struct{ n uint32 }

func (b *uringBusy) Error() string {
	return fmt.Sprintf("with %d requests under way, which can't be saved", b.n)
}

func (b *uringBusy) Hint() string { return "try again when they are done" }

// Passes says that they may be done in a moment.
func (b *uringBusy) Passes() bool { return true }

// uringObstacle says why an io_uring can't be saved.
func uringObstacle(fd int, u *proc.Uring) error {
	const off = "; programs that use io_uring mostly have an option against it"
	no := func(what string) error {
		return cli.WithHint(fmt.Errorf("%s, which can't be saved", what), "make the program do without"+off)
	}
	switch {
	case u.Thread:
		return no("that a thread of the kernel polls (IORING_SETUP_SQPOLL)")
	case u.Files > 0 || u.Buffers > 0 || u.Personalities:
		return no("with registered files, buffers or credentials")
	case u.Polls > 0:
		return no(fmt.Sprintf("with %d requests that wait for files", u.Polls))
	case u.Overflow:
		return no("with completions that found no room")
	case u.SQHead != u.SQTail:
		return &uringBusy{u.SQTail - u.SQHead}
	case u.Taken != u.Done:
		return &uringBusy{u.Taken - u.Done}
	case tooOften(u.Taken, u.SQEntries):
		return no(fmt.Sprintf("through which %d requests have gone, too many to count again", u.Taken))
	}
	switch _, err := sys.UringEnter(fd, 0); {
	case err == unix.EBADFD:
		return no("that is not yet enabled (IORING_SETUP_R_DISABLED)")
	case err != nil:
		return no(fmt.Sprintf("that can't be looked at (%v)", err))
	}
	switch err := sys.UringRegister(fd, sys.UringRegisterEventFD, nil, 1); err { // makes nothing without an argument
	case unix.EFAULT:
	case unix.EBUSY:
		return no("with a registered eventfd")
	case unix.EEXIST:
		return no("for a single thread (IORING_SETUP_SINGLE_ISSUER)")
	default:
		return no(fmt.Sprintf("that can't be asked what is registered (%v)", err))
	}
	for group := range uint32(16) {
		status := make([]byte, 40) // struct io_uring_buf_status
		binary.NativeEndian.PutUint32(status, group)
		if sys.UringRegister(fd, sys.UringRegisterBufsStatus, status, 1) == nil {
			return no("with buffers that it provides for requests")
		}
	}
	return nil
}

// uringSizes are the lengths of an io_uring's two pieces of memory.
type uringSizes struct{ rings, sqes int }

func sizesOf(p *sys.UringParams) uringSizes {
	end := p.CQ.Fields[1] + p.CQEntries*sys.UringCQEBytes
	if p.Flags&sys.UringNoSQArray == 0 {
		end = max(end, p.SQ.Fields[2]+4*p.SQEntries)
	}
	return uringSizes{int(end), int(p.SQEntries) * sys.UringSQEBytes}
}

// newUring makes an io_uring.
func newUring(sqEntries, cqEntries uint32, direct bool) (fd int, p *sys.UringParams, err error) {
	p = &sys.UringParams{CQEntries: cqEntries, Flags: sys.UringCQSize | sys.UringSubmitAll}
	if direct {
		p.Flags |= sys.UringNoSQArray
	}
	fd, err = sys.UringSetup(sqEntries, p)
	if err == nil && (p.SQEntries != sqEntries || p.CQEntries != cqEntries) {
		err = errors.Join(fmt.Errorf("%w: an io_uring of %d and %d entries", stream.ErrCorrupt, sqEntries, cqEntries), unix.Close(fd))
	}
	return fd, p, err
}

// uringLayout finds out whether the entries of an io_uring have the usual size, and
// whether it has an array of indexes: programs fill that in when they make the ring.
func uringLayout(fd int, u *proc.Uring) (direct bool, why error) {
	ours, p, err := newUring(u.SQEntries, u.CQEntries, false)
	if err != nil {
		return false, fmt.Errorf("that can't be looked at: %w", err)
	}
	defer unix.Close(ours)
	sizes := sizesOf(p)
	page := os.Getpagesize()
	for offset, n := range sizes.all() {
		n = (n + page - 1) &^ (page - 1)
		if got, err := readUring(fd, offset, n+page); err != nil || len(got) > n {
			return false, errors.Join(errors.New("with entries of double size (IORING_SETUP_SQE128, CQE32), which can't be saved"), err)
		}
	}
	m, err := readUring(fd, sys.UringOffRings, sizes.rings)
	array := m[min(int(p.SQ.Fields[2]), len(m)):]
	return u.SQEntries > 1 && bytes.Count(array, []byte{0}) == len(array), err
}

// readUring reads the memory of an io_uring, as much of n bytes as there is: what is mapped
// behind its end can't be touched.
func readUring(fd int, offset int64, n int) ([]byte, error) {
	m, err := unix.Mmap(fd, offset, n, unix.PROT_READ, unix.MAP_SHARED)
	if err == unix.EINVAL {
		return nil, nil // on kernels where nothing can be mapped there
	}
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	buf := make([]byte, n)
	got, err := sys.CopyMapped(buf, m)
	return buf[:got], errors.Join(err, unix.Munmap(m))
}

// sendUring sends the memory of an io_uring.
func sendUring(w *stream.Writer, s *Subject, rec *record.IOUring) error {
	f, err := borrow(s)
	if err != nil {
		return err
	}
	defer f.Close()
	ours, p, err := newUring(rec.SQEntries, rec.CQEntries, rec.Direct)
	if err != nil {
		return fmt.Errorf("fd %d of pid %d: %w", s.FD, s.PID, err)
	}
	sizes := sizesOf(p)
	unix.Close(ours)
	for offset, n := range sizes.all() {
		m, err := readUring(int(f.Fd()), offset, n)
		if err == nil && len(m) < n {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("fd %d of pid %d: memory of an io_uring: %w", s.FD, s.PID, err)
		}
		for at := 0; at < n; at += stream.DataChunkBytes {
			part := m[at:min(at+stream.DataChunkBytes, n)]
			r, err := stream.New(record.TypeContent, &record.Content{Offset: offset + int64(at), Refs: record.InodeRef{Inode: rec.ID}})
			if err != nil {
				return err
			}
			r.DataLen = int64(len(part))
			if err := w.Write(r, bytes.NewReader(part)); err != nil {
				return err
			}
		}
	}
	return nil
}

// all yields the two pieces, by the offsets at which they are mapped.
func (s uringSizes) all() func(yield func(int64, int) bool) {
	return func(yield func(int64, int) bool) {
		_ = yield(sys.UringOffRings, s.rings) && yield(sys.UringOffSQEs, s.sqes)
	}
}

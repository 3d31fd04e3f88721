package loan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/tracee"
)

// Pipe is a pipe in the target, for sending its pages by vmsplice(2).
type Pipe struct {
	l        *Loan
	r, w     int
	Out      *os.File // our own descriptor for the read end
	Capacity int      // bytes
}

// Pipe makes a pipe in the target with a capacity of at most wantBytes. Its descriptors are
// closed by Return, or by the target itself on its way home.
func (l *Loan) Pipe(wantBytes int) (*Pipe, error) {
	if l.pipe != nil {
		return l.pipe, nil
	}
	if l.place.slots < slots || l.place.tight {
		return nil, l.t.Wrap("make a pipe in it", ErrNoPlace)
	}
	r, w := l.place.fds[0], l.place.fds[1]
	base := l.undo
	l.undo = append(slices.Clone(base), tracee.HomeCall{NR: unix.SYS_CLOSE, Args: []uint64{uint64(r)}}, tracee.HomeCall{NR: unix.SYS_CLOSE, Args: []uint64{uint64(w)}})
	if err := l.arm(); err != nil {
		return nil, err
	}
	p := &Pipe{l: l, r: r, w: w}
	err := tracee.CallOK(l, "make a pipe", unix.SYS_PIPE2, l.place.scratch.Addr, unix.O_CLOEXEC)
	if err == nil {
		l.pipe = p
		err = p.open(wantBytes)
	}
	if err != nil {
		l.undo = base
		if l.pipe != nil {
			err = errors.Join(err, p.close())
		}
		l.pipe = nil
		return nil, errors.Join(err, l.arm())
	}
	return p, nil
}

func (p *Pipe) open(wantBytes int) error {
	var got [8]byte
	if err := p.l.t.ReadMem(p.l.place.scratch.Addr, got[:]); err != nil {
		return err
	}
	r, w := int(binary.LittleEndian.Uint32(got[:])), int(binary.LittleEndian.Uint32(got[4:]))
	if r != p.r || w != p.w {
		p.r, p.w = r, w
		return p.l.t.Wrap("make a pipe", fmt.Errorf("its descriptors are %d and %d, not the lowest free", r, w))
	}
	fd, err := tracee.GetFD(p.l.t.PID, p.r)
	if err != nil {
		return err
	}
	p.Out = os.NewFile(uintptr(fd), "pipe of the target")
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, wantBytes)
	p.Capacity, err = unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0)
	return os.NewSyscallError("fcntl", err)
}

func (p *Pipe) close() error {
	_, rerr := p.l.Call(unix.SYS_CLOSE, uint64(p.r))
	_, werr := p.l.Call(unix.SYS_CLOSE, uint64(p.w))
	if p.Out != nil {
		p.Out.Close()
	}
	return errors.Join(rerr, werr)
}

// Fill puts the pages of at most 1024 ranges into the pipe by reference, and returns how
// many bytes it took, at most Capacity.
func (p *Pipe) Fill(ranges []tracee.Range) (int, error) {
	if len(ranges) > 1024 {
		return 0, unix.EINVAL
	}
	iov := make([]byte, 0, 16*len(ranges))
	for _, r := range ranges {
		iov = binary.LittleEndian.AppendUint64(iov, r.Addr)
		iov = binary.LittleEndian.AppendUint64(iov, r.Len)
	}
	at := p.l.place.scratch.Addr
	if err := p.l.t.WriteMem(at, iov); err != nil {
		return 0, err
	}
	n, err := p.l.Call(unix.SYS_VMSPLICE, uint64(p.w), at, uint64(len(ranges)), unix.SPLICE_F_NONBLOCK)
	if err != nil {
		return 0, p.l.t.Wrap("take its pages", err)
	}
	return int(n), nil
}

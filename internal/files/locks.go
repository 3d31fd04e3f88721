package files

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/tracee"
	"ckpt/stream"
)

// lockKinds maps the words of fdinfo to those of a LOCK record.
var lockKinds = map[string]string{"FLOCK": stream.LockFlock, "POSIX": stream.LockPosix, "OFDLCK": stream.LockOFD}

// locks emits the file locks held through a descriptor.
func (c *Collector) locks(s *Subject, ref stream.FDRefs) error {
	for _, l := range s.Info.Locks {
		kind, ok := lockKinds[l.Type]
		if !ok {
			c.Block(s.PID, fmt.Errorf("fd %d (%s) has a %s on it, which can't be saved", s.FD, s.Target, l.Type))
			continue
		}
		rec := stream.Lock{PID: s.PID, FD: s.FD, Kind: kind, Write: l.Mode == "WRITE", Start: l.Start, Refs: ref}
		if l.End != proc.EOF {
			rec.Len = l.End - l.Start + 1
		}
		if err := c.Emit(stream.TypeLock, &rec); err != nil {
			return err
		}
	}
	return nil
}

// lock takes a lock again. A POSIX lock belongs to the process and is taken in
// it, the others to the open file description and are taken through ours.
func (r *Restorer) lock(p *tracee.Puppet, l *stream.Lock) error {
	file, err := r.file(l.Refs.File)
	if err != nil {
		return err
	}
	name := file.f.Name()
	switch l.Kind {
	case stream.LockFlock:
		how := unix.LOCK_SH
		if l.Write {
			how = unix.LOCK_EX
		}
		err = unix.Flock(int(file.f.Fd()), how|unix.LOCK_NB)
	case stream.LockOFD:
		lk := flockT(l)
		err = unix.FcntlFlock(file.f.Fd(), unix.F_OFD_SETLK, &lk)
	case stream.LockPosix:
		err = posixLock(p, l)
	default:
		err = fmt.Errorf("lock of kind %q", l.Kind)
	}
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%s is locked by another process, pid %d had that lock through fd %d", name, l.PID, l.FD)
	}
	if err != nil {
		return fmt.Errorf("lock %s for fd %d of pid %d: %w", name, l.FD, l.PID, err)
	}
	return nil
}

func flockT(l *stream.Lock) unix.Flock_t {
	lk := unix.Flock_t{Type: unix.F_RDLCK, Whence: int16(io.SeekStart), Start: l.Start, Len: l.Len}
	if l.Write {
		lk.Type = unix.F_WRLCK
	}
	return lk
}

// posixLock makes the fcntl(2) call in the puppet.
func posixLock(p *tracee.Puppet, l *stream.Lock) error {
	lk := flockT(l)
	at := p.Scratch().Addr
	// struct flock on 64-bit: type and whence, padding, start, len, pid.
	b := words(uint64(uint16(lk.Type))|uint64(uint16(lk.Whence))<<16, uint64(lk.Start), uint64(lk.Len), 0)
	if err := p.Tracee().WriteMem(at, b); err != nil {
		return err
	}
	_, err := p.Call(unix.SYS_FCNTL, uint64(l.FD), unix.F_SETLK, at)
	return err
}

func words(w ...uint64) []byte {
	b := make([]byte, 0, 8*len(w))
	for _, v := range w {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

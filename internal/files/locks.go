package files

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/proc"
	"ckpt/internal/puppet"
	"ckpt/stream/record"
)

// lockKinds maps the kinds of locks in fdinfo to those of LOCK records.
var lockKinds = map[string]string{"FLOCK": record.LockFlock, "POSIX": record.LockPosix, "OFDLCK": record.LockOFD, "LEASE": record.LockLease}

// locks emits the file locks and leases held through a descriptor.
func (c *Collector) locks(s *Subject, ref record.FDRefs) error {
	for i := range s.Info.Locks {
		l := &s.Info.Locks[i]
		kind, ok := lockKinds[l.Type]
		var err error
		switch {
		case isLease(l):
			err = c.lease(s, l)
		case !ok:
			err = fmt.Errorf("fd %d (%s) has a %s on it, which can't be saved", s.FD, s.Target, l.Type)
		}
		if err != nil {
			c.Block(s.PID, err)
			continue
		}
		rec := record.Lock{TID: s.PID, FD: s.FD, Kind: kind, Write: l.Mode == "WRITE", Start: l.Start, Owner: max(l.PID, 0), Refs: ref}
		if l.End != proc.EOF {
			rec.Len = l.End - l.Start + 1
		}
		if err := c.Emit(record.TypeLock, &rec); err != nil {
			return err
		}
	}
	return nil
}

// Lock takes a lock again, in a puppet that has the descriptor, so that it is the
// owner in /proc/locks. A lock that the description already has does not change.
// A process loses its POSIX locks on a file when it closes any descriptor of it,
// so they are taken when nothing more will be closed.
func (r *Restorer) Lock(p *puppet.Puppet, l *record.Lock) error {
	if r.replacements.of(&record.FD{FD: l.FD, Refs: l.Refs}).closes() {
		return nil
	}
	file, err := r.file(l.Refs.File)
	if err != nil {
		return err
	}
	name := file.f.Name()
	switch l.Kind {
	case record.LockFlock:
		how := uint64(unix.LOCK_SH)
		if l.Write {
			how = unix.LOCK_EX
		}
		_, err = p.Call(unix.SYS_FLOCK, uint64(l.FD), how|unix.LOCK_NB)
	case record.LockOFD:
		err = rangeLock(p, l, unix.F_OFD_SETLK)
	case record.LockLease:
		return r.takeLease(p, l, file)
	case record.LockPosix:
		err = rangeLock(p, l, unix.F_SETLK)
	default:
		err = fmt.Errorf("lock of kind %q", l.Kind)
	}
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%s is locked by another process; pid %d held that lock through fd %d", name, l.TID, l.FD)
	}
	if err != nil {
		return fmt.Errorf("lock %s for fd %d of pid %d: %w", name, l.FD, l.TID, err)
	}
	return nil
}

// rangeLock makes the fcntl(2) call in the puppet.
func rangeLock(p *puppet.Puppet, l *record.Lock, cmd uint64) error {
	how := uint16(unix.F_RDLCK)
	if l.Write {
		how = unix.F_WRLCK
	}
	at := p.Scratch().Addr
	// struct flock on 64-bit: type and whence, padding, start, len, pid.
	b := abi.Bytes(uint64(how)|uint64(io.SeekStart)<<16, uint64(l.Start), uint64(l.Len), 0)
	if err := p.Tracee().WriteMem(at, b); err != nil {
		return err
	}
	_, err := p.Call(unix.SYS_FCNTL, uint64(l.FD), cmd, at)
	return err
}

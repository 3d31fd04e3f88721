package files

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/proc"
	"ckpt/internal/puppet"
	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// fcntl(2) operations x/sys/unix has no name for.
const (
	fSetSig = 10
	fGetSig = 11
)

// ownerGroup is F_OWNER_PGRP of fcntl(2).
const ownerGroup = 2

// readSignalOwner reads who gets the signals of a pipe, socket, FIFO or terminal
// (F_SETOWN). Regular files send none, but for leases.
func (c *Collector) readSignalOwner(s *Subject, file *record.File) error {
	switch s.Stat.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
		if !slices.ContainsFunc(s.Info.Locks, func(l proc.Lock) bool { return isLease(&l) }) {
			return nil
		}
	}
	if s.Info.Flags&unix.O_PATH != 0 {
		return nil
	}
	fd, err := borrowFD(s)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	own, err := sys.GetOwnEx(fd)
	if err != nil {
		return err
	}
	if own.PID != 0 {
		file.Owner = &record.Owner{Type: int(own.Type), PID: int(own.PID)}
		if ids, err := sys.OwnerUIDs(fd); err == nil {
			file.Owner.UIDs = ids[:]
		}
		if !c.InTree(int(own.PID)) {
			if stat, err := proc.ReadStat(int(own.PID)); err == nil {
				file.Owner.StartTime = stat.StartTime
			}
		}
	}
	// An owner may be set later.
	file.Flags |= s.Info.Flags & unix.O_ASYNC
	file.Sig, err = unix.FcntlInt(uintptr(fd), fGetSig, 0)
	return os.NewSyscallError("fcntl", err)
}

// setSignalOwner is the inverse of readSignalOwner, except for O_ASYNC. The kernel
// records whose rights the signals are sent with, so it is done as the user who did
// it; if that is not known, as the user of the file with the fewest rights. An owner
// outside the image that is gone is left out. It reports whether there is an owner now.
func (r *Restorer) setSignalOwner(f *depot.File, s *record.File) (owned bool, err error) {
	fd, err := f.Fd()
	if err != nil {
		return false, err
	}
	if _, err := unix.FcntlInt(uintptr(fd), fSetSig, s.Sig); err != nil {
		return false, fmt.Errorf("signal of %s: %w", f.Name(), err)
	}
	if s.Owner == nil {
		return false, nil
	}
	if !r.isOwner(s.Owner) {
		why := "has ended"
		if r.Apart {
			why = "can't be seen from its pid namespace"
		}
		r.Note("%s no longer sends signals to process or group %d, which is not in the image and %s", f.Name(), s.Owner.PID, why)
		return false, nil
	}
	uids := s.Owner.UIDs
	if u := r.Users[s.Refs.Inode]; len(uids) != 2 && u != nil {
		uids = u.Creds.UID
	}
	if len(uids) < 2 {
		return false, nil // no process uses it
	}
	own := sys.OwnerEx{Type: int32(s.Owner.Type), PID: int32(s.Owner.PID)}
	err = sys.AsUser(uids[0], uids[1], uint32(unix.Getgid()), uint32(unix.Getegid()), nil, func() error {
		return sys.SetOwnEx(fd, own)
	})
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return false, fmt.Errorf("owner of %s: %w", f.Name(), err)
	}
	return err == nil, nil
}

// isOwner reports whether an owner is in the image, or is the process that it was: an id
// can be somebody else's by now.
func (r *Restorer) isOwner(o *record.Owner) bool {
	if o.Type == ownerGroup && r.HasGroup != nil && r.HasGroup(0, o.PID) || r.InTree != nil && r.InTree(o.PID) {
		return true
	}
	stat, err := proc.ReadStat(o.PID)
	return err == nil && r.SameBoot && o.StartTime != 0 && stat.StartTime == o.StartTime
}

// setAsync has a puppet switch on O_ASYNC through one of its descriptors. The
// kernel reports the number of that descriptor with the signals, see F_SETSIG in
// fcntl(2).
func setAsync(p *puppet.Puppet, fd int) error {
	flags, err := p.Call(unix.SYS_FCNTL, uint64(fd), unix.F_GETFL)
	if err == nil {
		_, err = p.Call(unix.SYS_FCNTL, uint64(fd), unix.F_SETFL, flags|unix.O_ASYNC)
	}
	if err != nil {
		return fmt.Errorf("pid %d: set O_ASYNC on descriptor %d: %w", p.Tracee().PID, fd, err)
	}
	return nil
}

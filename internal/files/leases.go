package files

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/cli"
	"ckpt/internal/proc"
	"ckpt/internal/puppet"
	"ckpt/stream"
	"ckpt/stream/record"
)

// A lease, see F_SETLEASE in fcntl(2), belongs to an open file description. It is taken again
// in the process that took it, by the descriptor that its signals name, when everything that
// would break it is closed.

// openToRead opens a subject again, for reading. Opening a file on which there is
// a write lease breaks the lease and waits for its holder, who may be
// stopped with the target: such a file is blocked, and nil returned.
func (c *Collector) openToRead(s *Subject) (*os.File, error) {
	leased, err := c.leased(s)
	if err != nil {
		return nil, err
	}
	if !leased {
		f, err := open(s.Link, unix.O_RDONLY|unix.O_NONBLOCK)
		if !errors.Is(err, unix.EAGAIN) {
			return f, err
		}
	}
	c.Block(s.PID, fmt.Errorf("%s is %s with a LEASE on it (F_SETLEASE), which can't be saved", where(s), s.Target))
	return nil, nil
}

// noteLeases notes the leases that a descriptor has, as far as opening the file for reading
// breaks them.
func (c *Collector) noteLeases(s *Subject) {
	if s.FUSE != "" {
		return
	}
	for i := range s.Info.Locks {
		if !breaks(&s.Info.Locks[i]) {
			continue
		}
		if c.leases == nil {
			c.leases = map[inodeKey]bool{}
		}
		c.leases[s.inode()] = true
	}
}

func isLease(l *proc.Lock) bool { return l.Type == "LEASE" || l.Type == "DELEG" }

// breaks reports whether a lock is a lease that is broken when its file is opened for reading.
func breaks(l *proc.Lock) bool { return isLease(l) && !(l.State == "ACTIVE" && l.Mode == "READ") }

// leased reports whether a process that we can see has a lease that opening a subject
// for reading breaks: a write lease. While a descriptor of the tree has a file open, only
// the tree itself can have one on it (check_conflicting_open in fs/locks.c), and that
// shows at the descriptor. An O_PATH descriptor does not count as open, and behind a
// mapping there may be a lease whose descriptor is closed. For those only /proc/locks
// tells, which takes the kernel some 10 ms to open: it waits for all CPUs.
func (c *Collector) leased(s *Subject) (bool, error) {
	key := s.inode()
	if c.leases[key] || s.FD >= 0 && s.Info.Flags&unix.O_PATH == 0 {
		return c.leases[key], nil
	}
	all, err := c.everyLease()
	return all[key], err
}

// everyLease is allLeases, read once.
func (c *Collector) everyLease() (_ map[inodeKey]bool, err error) {
	if c.allLeases == nil {
		c.allLeases, err = allLeases()
	}
	return c.allLeases, err
}

func allLeases() (map[inodeKey]bool, error) {
	b, err := os.ReadFile("/proc/locks")
	if err != nil {
		return nil, err
	}
	all := map[inodeKey]bool{}
	for line := range strings.Lines(string(b)) {
		l, err := proc.ParseLock(strings.TrimSpace(line))
		if err == nil && breaks(&l) { // a line with "->" is a waiter's and is not parsed
			all[inodeKey{unix.Mkdev(l.Major, l.Minor), l.Inode}] = true
		}
	}
	return all, nil
}

// lease returns what stands in the way of saving a lease.
func (c *Collector) lease(s *Subject, l *proc.Lock) error {
	switch {
	case l.Type != "LEASE":
		return fmt.Errorf("fd %d (%s) has a %s on it, which can't be saved", s.FD, s.Target, l.Type)
	case l.State != "ACTIVE":
		return passing{fmt.Errorf("fd %d (%s) has a lease on it (F_SETLEASE) that it is to give up, because somebody waits for the file, and which can't be saved", s.FD, s.Target)}
	}
	pid := s.PID
	if c.InTree(l.PID) {
		pid = l.PID
	}
	status, err := proc.ReadStatus(pid)
	if err != nil {
		return err
	}
	if status.Uid[3] != s.Stat.Uid && caps.Set(status.CapEff)&caps.Of(unix.CAP_LEASE) == 0 {
		return fmt.Errorf("fd %d (%s) has a lease on it (F_SETLEASE) that pid %d could not take again, because the file is user %d's and it has no CAP_LEASE, and which can't be saved",
			s.FD, s.Target, pid, s.Stat.Uid)
	}
	return nil
}

// CheckLeases returns what is in the way of taking leases again, and notes which files have
// one. defined returns the record of an object.
func (r *Restorer) CheckLeases(locks []record.Lock, defined func(objref uint64) *stream.Record) (errs []error) {
	for i := range locks {
		l := &locks[i]
		rec := defined(l.Refs.File)
		if l.Kind != record.LockLease || rec == nil || rec.Type != record.TypeFile {
			continue
		}
		f, err := decode[record.File](rec)
		if err != nil {
			continue // it is told elsewhere
		}
		if r.leased == nil {
			r.leased = map[uint64]bool{}
		}
		r.leased[f.Refs.Inode] = true
		if _, mapped := r.Mapped[f.Refs.Inode]; mapped && l.Write {
			errs = append(errs, fmt.Errorf("%s has a write lease by fd %d on a file that is mapped, too, which can't be had again", r.Name(l.TID), l.FD))
		}
	}
	return errs
}

// takeLease takes a lease in a puppet that has the descriptor.
func (r *Restorer) takeLease(p *puppet.Puppet, l *record.Lock, file *file) error {
	if file.rec == nil {
		r.Note("the lease of %s by fd %d is lost, because something else takes the file's place", r.Name(l.TID), l.FD)
		return nil
	}
	if file.leased { // by another of its descriptors
		return nil
	}
	kind := uint64(unix.F_RDLCK)
	if l.Write {
		kind = unix.F_WRLCK
	}
	_, err := p.Call(unix.SYS_FCNTL, uint64(l.FD), unix.F_SETLEASE, kind)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return cli.WithHint(fmt.Errorf("%s is open elsewhere, so that the lease which %s had on it by fd %d can't be had again", file.f.Name(), r.Name(l.TID), l.FD),
			"end what has it open (fuser "+file.f.Name()+")")
	case err == nil && !file.owned: // the lease has made the process the owner
		_, err = p.Call(unix.SYS_FCNTL, uint64(l.FD), unix.F_SETOWN, 0)
	}
	if err != nil {
		return fmt.Errorf("lease on %s for fd %d of pid %d: %w", file.f.Name(), l.FD, l.TID, err)
	}
	file.leased = true
	return nil
}

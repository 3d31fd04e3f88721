package files

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// inodeKey is the identity of a file.
type inodeKey struct{ dev, ino uint64 }

// openToRead opens a subject again, for reading. Opening a file on which there is
// a lease, see fcntl(2), breaks the lease and waits for its holder, who may be
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
	if slices.ContainsFunc(s.Info.Locks, isLease) {
		return nil, nil // it is blocked with the descriptor's locks
	}
	c.Block(s.PID, fmt.Errorf("%s is %s with a LEASE on it (F_SETLEASE), which can't be saved", where(s), s.Target))
	return nil, nil
}

// noteLeases notes the leases that a descriptor has.
func (c *Collector) noteLeases(s *Subject) {
	if s.FUSE != "" || !slices.ContainsFunc(s.Info.Locks, isLease) {
		return
	}
	if c.leases == nil {
		c.leases = map[inodeKey]bool{}
	}
	c.leases[inodeKey{s.Stat.Dev, s.Stat.Ino}] = true
}

func isLease(l proc.Lock) bool { return l.Type == "LEASE" || l.Type == "DELEG" }

// leased reports whether a process that we can see has a lease that opening a subject
// for reading breaks: a write lease. While a descriptor of the tree has a file open, only
// the tree itself can have one on it (check_conflicting_open in fs/locks.c), and that
// shows at the descriptor. An O_PATH descriptor does not count as open, and behind a
// mapping there may be a lease whose descriptor is closed. For those only /proc/locks
// tells, which takes the kernel some 10 ms to open: it waits for all CPUs.
func (c *Collector) leased(s *Subject) (bool, error) {
	key := inodeKey{s.Stat.Dev, s.Stat.Ino}
	if c.leases[key] || s.FD >= 0 && s.Info.Flags&unix.O_PATH == 0 {
		return c.leases[key], nil
	}
	if c.allLeases == nil {
		var err error
		if c.allLeases, err = allLeases(); err != nil {
			return false, err
		}
	}
	return c.allLeases[key], nil
}

func allLeases() (map[inodeKey]bool, error) {
	b, err := os.ReadFile("/proc/locks")
	if err != nil {
		return nil, err
	}
	all := map[inodeKey]bool{}
	for line := range strings.Lines(string(b)) {
		l, err := proc.ParseLock(strings.TrimSpace(line))
		if err == nil && isLease(l) { // a line with "->" is a waiter's and is not parsed
			all[inodeKey{unix.Mkdev(l.Major, l.Minor), l.Inode}] = true
		}
	}
	return all, nil
}

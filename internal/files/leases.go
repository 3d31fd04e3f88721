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

// openToRead opens what a subject has open anew, for reading. To open a file on
// which there is a lease, see fcntl(2), breaks that and waits for whoever has it,
// who may stand still with the target: such is blocked, and nil returned.
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
	if slices.ContainsFunc(s.Info.Locks, func(l proc.Lock) bool { return l.Type == "LEASE" }) {
		return nil, nil // which is blocked with the descriptor's locks
	}
	c.Block(s.PID, fmt.Errorf("%s is %s with a LEASE on it (F_SETLEASE), which can't be saved", where(s), s.Target))
	return nil, nil
}

// leased reports whether somebody, of those that this process sees, has a lease.
func (c *Collector) leased(s *Subject) (bool, error) {
	if c.leases == nil {
		b, err := os.ReadFile("/proc/locks")
		if err != nil {
			return false, err
		}
		c.leases = map[inodeKey]bool{}
		for line := range strings.Lines(string(b)) {
			l, err := proc.ParseLock(strings.TrimSpace(line))
			if err == nil && (l.Type == "LEASE" || l.Type == "DELEG") { // others wait for a lock
				c.leases[inodeKey{unix.Mkdev(l.Major, l.Minor), l.Inode}] = true
			}
		}
	}
	return c.leases[inodeKey{s.Stat.Dev, s.Stat.Ino}], nil
}

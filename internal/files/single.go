package files

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/object"
)

// single is an object with one open file description for life: no path leads to
// it, and the kernel can't open it a second time.
type single struct {
	object.Base
	f *depot.File
}

// newSingle takes over one of our descriptors.
func (r *Restorer) newSingle(fd int, name string) (*single, error) {
	f, err := r.Depot.Keep(os.NewFile(uintptr(fd), name))
	return &single{f: f}, err
}

// statusFlags are the O_ flags that fcntl(2) can change. setAsync sets O_ASYNC.
const statusFlags = unix.O_APPEND | unix.O_NONBLOCK | unix.O_DIRECT | unix.O_NOATIME

// Open returns the description itself, with these flags.
func (s *single) Open(flags int) (*os.File, error) {
	// Duplicate it before it becomes non-blocking, or Go's own epoll would watch it.
	f, err := s.f.Dup()
	if err != nil {
		return nil, err
	}
	if err := s.setFlags(flags); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (s *single) setFlags(flags int) error {
	fd, err := s.f.Fd()
	if err != nil {
		return err
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags&statusFlags); err != nil {
		return fmt.Errorf("flags %#o of %s: %w", flags, s.f.Name(), err)
	}
	return nil
}

// lender is a single that lends its description to the FILE that has it open, which then
// takes no descriptor of its own: there may be thousands of sockets.
type lender interface {
	lend(flags int) (*depot.File, error)
}

func (s *inetSock) lend(flags int) (*depot.File, error) { return s.f, s.setFlags(flags) }
func (u *unixSock) lend(flags int) (*depot.File, error) { return u.f, u.setFlags(flags) }

func (s *single) Close() error { return s.f.Close() }

// isAnon reports whether a subject is an anonymous inode of this name.
func isAnon(s *Subject, name string) bool {
	return strings.TrimPrefix(s.Target, "anon_inode:") == name && s.Target != name && s.FD >= 0
}

// blockPath blocks a descriptor that was opened with O_PATH, and reports whether
// it did: the object has no path by which it could be opened that way again.
func (c *Collector) blockPath(s *Subject) bool {
	if s.Info.Flags&unix.O_PATH == 0 {
		return false
	}
	c.Block(s.PID, fmt.Errorf("fd %d is an O_PATH descriptor of %s, which can't be saved", s.FD, s.Target))
	return true
}

package files

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// single is a thing with one open file description for life: no path leads to
// it, and the kernel does not open it a second time.
type single struct{ f *os.File }

// newSingle takes over a descriptor of ours.
func newSingle(fd int, name string) *single { return &single{os.NewFile(uintptr(fd), name)} }

// statusFlags are the O_ flags fcntl(2) can change; beAsync sets O_ASYNC.
const statusFlags = unix.O_APPEND | unix.O_NONBLOCK | unix.O_DIRECT | unix.O_NOATIME

// Open returns the description itself, with these flags.
func (s *single) Open(flags int) (*os.File, error) {
	fd, err := unix.FcntlInt(s.f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("duplicate %s: %w", s.f.Name(), err)
	}
	// Before it is non-blocking, or Go's own epoll would watch it.
	f := os.NewFile(uintptr(fd), s.f.Name())
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags&statusFlags); err != nil {
		return nil, errors.Join(fmt.Errorf("flags %#o of %s: %w", flags, s.f.Name(), err), f.Close())
	}
	return f, nil
}

func (s *single) Close() error { return s.f.Close() }

// isAnon reports whether a subject is an anonymous inode of that name.
func isAnon(s *Subject, name string) bool {
	return strings.TrimPrefix(s.Target, "anon_inode:") == name && s.Target != name && s.FD >= 0
}

// blockPath blocks a descriptor that was opened with O_PATH, and reports
// whether it did: such a one reaches only the name of what has none.
func (c *Collector) blockPath(s *Subject) bool {
	if s.Info.Flags&unix.O_PATH == 0 {
		return false
	}
	c.Block(s.PID, fmt.Errorf("fd %d is an O_PATH descriptor of %s, which can't be saved", s.FD, s.Target))
	return true
}

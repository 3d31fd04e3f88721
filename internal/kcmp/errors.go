package kcmp

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Error tells which two handles could not be compared and why. Err is the
// errno, so errors.Is(err, unix.ESRCH) and the like hold.
type Error struct {
	Type Type
	A, B Handle
	Slot EpollSlot // EpollTFD only
	At   []Handle  // the handles at fault, as far as they are known
	Err  unix.Errno
}

func (e *Error) Unwrap() error { return e.Err }

func (e *Error) Error() string {
	return fmt.Sprintf("can't compare %s of %s with %s: %s", e.Type, e.name(e.A), e.nameB(), e.reason())
}

func (e *Error) reason() string {
	switch e.Err {
	case unix.EPERM:
		return "no permission to trace " + e.guilty(pidName) + ", needs its user or CAP_SYS_PTRACE"
	case unix.ESRCH:
		return e.guilty(pidName) + " does not exist"
	case unix.EBADF:
		return e.guilty(e.name) + " is not open"
	case unix.ENOSYS:
		return "this kernel has no kcmp, needs CONFIG_KCMP"
	case unix.EOPNOTSUPP:
		return "this kernel can't compare " + e.Type.String()
	case unix.ENOENT:
		return "the epoll has no such target"
	case unix.EINVAL:
		if e.Type == EpollTFD {
			return e.name(e.B) + " is not an epoll"
		}
		return "not a type two indexes can tell"
	}
	return e.Err.Error()
}

func pidName(h Handle) string { return fmt.Sprintf("pid %d", h.PID) }

func (e *Error) name(h Handle) string {
	if e.Type != File && e.Type != EpollTFD {
		return pidName(h)
	}
	return fmt.Sprintf("pid %d fd %d", h.PID, h.Idx)
}

func (e *Error) nameB() string {
	if e.Type != EpollTFD {
		return e.name(e.B)
	}
	return fmt.Sprintf("%s target %d #%d", e.name(e.B), e.Slot.TargetFD, e.Slot.Offset)
}

// guilty joins the names of the handles at fault, or of both if none is known.
func (e *Error) guilty(name func(Handle) string) string {
	at := e.At
	if len(at) == 0 {
		at = []Handle{e.A, e.B}
	}
	var names []string
	for _, h := range at {
		if n := name(h); len(names) == 0 || names[len(names)-1] != n {
			names = append(names, n)
		}
	}
	return strings.Join(names, " or ")
}

// guilty finds which of the two handles is at fault, which the system call does
// not say, by comparing each with itself.
func guilty(a, b Handle, typ Type, errno unix.Errno) []Handle {
	switch errno {
	case unix.EPERM, unix.ESRCH, unix.EBADF:
	default:
		return nil
	}
	var at []Handle
	for _, h := range [...]Handle{a, b} {
		if _, own := compare(h, h, typ); own == errno {
			at = append(at, h)
		}
	}
	return at
}

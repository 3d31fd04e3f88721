package files

import (
	"errors"

	"golang.org/x/sys/unix"
)

// sockType is what socket(2) was called with.
type sockType struct{ domain, kind, proto int }

func sockTypeOf(fd int) (t sockType, err error) {
	var errs [3]error
	t.domain, errs[0] = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	t.kind, errs[1] = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	t.proto, errs[2] = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	return t, errors.Join(errs[:]...)
}

// isSocket reports whether a subject is a socket, and not an O_PATH descriptor, which may be
// of the file of one, whose number is from another file system.
func isSocket(s *Subject) bool {
	return s.Stat.Mode&unix.S_IFMT == unix.S_IFSOCK && s.FD >= 0 && s.Info.Flags&unix.O_PATH == 0
}

// socketType returns the type of a socket, which is asked once; ok is false if the subject
// is none, or was opened with O_PATH.
func socketType(s *Subject) (t sockType, ok bool) {
	if !isSocket(s) {
		return t, false
	}
	if s.socket == nil {
		fd, err := borrowFD(s)
		if err != nil {
			return t, false
		}
		defer unix.Close(fd)
		if t, err = sockTypeOf(fd); err != nil {
			return t, false
		}
		s.socket = &t
	}
	return *s.socket, true
}

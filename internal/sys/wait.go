package sys

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// FirstByte returns the first byte there is to read from a pipe, a regular file or
// a socket, and leaves it there. ok is false at the end, and for other files.
func FirstByte(f *os.File) (b byte, ok bool, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, false, err
	}
	var buf [1]byte
	n := 0
	cerr := conn.Control(func(fd uintptr) { n, err = peek(int(fd), buf[:]) })
	if cerr != nil {
		err = cerr
	}
	return buf[0], n == 1, err
}

func peek(fd int, b []byte) (n int, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	for {
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFIFO:
			n, err = peekPipe(fd, b)
		case unix.S_IFSOCK:
			n, _, err = unix.Recvfrom(fd, b, unix.MSG_PEEK)
		case unix.S_IFREG:
			at, serr := unix.Seek(fd, 0, unix.SEEK_CUR)
			if serr != nil {
				return 0, os.NewSyscallError("lseek", serr)
			}
			n, err = unix.Pread(fd, b, at)
		default:
			return 0, nil
		}
		if err == unix.EAGAIN { // somebody has set it non-blocking
			_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if err == nil {
				continue
			}
		}
		if err != unix.EINTR {
			return n, os.NewSyscallError("look at what comes", err)
		}
	}
}

// peekPipe copies what waits in a pipe by way of another.
func peekPipe(fd int, b []byte) (int, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return 0, err
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	n, err := unix.Tee(fd, p[1], len(b), 0)
	if n <= 0 || err != nil {
		return 0, err
	}
	return unix.Read(p[0], b)
}

// The kernel wakes nobody when a pipe gets empty.
const (
	drainFirst = 200 * time.Microsecond
	drainMost  = 10 * time.Millisecond
)

// Drain waits until all that was written to a pipe has been read. EPIPE: nobody is
// left who could. For other files it does nothing.
func Drain(ctx context.Context, f *os.File) error {
	for pause := drainFirst; ; pause = min(2*pause, drainMost) {
		// Who is gone is looked for first: what he left is there then.
		readers, unread, err := pipeState(f)
		switch {
		case err != nil || unread == 0:
			return err
		case !readers:
			return &os.PathError{Op: "write", Path: f.Name(), Err: unix.EPIPE}
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		time.Sleep(pause)
	}
}

// HasReaders reports whether somebody can read what is written to a pipe.
func HasReaders(f *os.File) bool {
	readers, _, err := pipeState(f)
	return err == nil && readers
}

// pipeState returns whether a pipe, of which f is the end to write to, has readers,
// and how many bytes wait in it.
func pipeState(f *os.File) (readers bool, unread int, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return false, 0, err
	}
	cerr := conn.Control(func(fd uintptr) {
		var st unix.Stat_t
		if err = unix.Fstat(int(fd), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
			return
		}
		p := []unix.PollFd{{Fd: int32(fd)}}
		if _, err = unix.Poll(p, 0); err == unix.EINTR {
			p[0].Revents, err = 0, nil
		}
		readers = p[0].Revents&unix.POLLERR == 0
		if err == nil {
			unread, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) // FIONREAD
		}
	})
	if cerr != nil {
		err = cerr
	}
	return readers, unread, err
}

package stream

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// spliceAll moves n bytes from src to dst inside the kernel, see splice(2).
// Where the kernel can't it stops early and the rest is to be copied.
func spliceAll(dst, src *os.File, n int64) (moved int64, err error) {
	for moved < n {
		k, err := spliceOnce(dst, src, n-moved)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			if err := waitReady(dst, src); err != nil {
				return moved, err
			}
		case moved == 0 && (err == unix.EINVAL || err == unix.EBADF || err == unix.ENOSYS || err == unix.EPERM):
			return 0, nil // neither is a pipe, or the file system can't
		case err != nil:
			return moved, &os.PathError{Op: "splice to", Path: dst.Name(), Err: err}
		case k == 0:
			return moved, io.ErrUnexpectedEOF
		}
		moved += max(k, 0)
	}
	return moved, nil
}

func spliceOnce(dst, src *os.File, n int64) (moved int64, err error) {
	cerr := onFDs(dst, src, func(out, in int) {
		moved, err = unix.Splice(in, nil, out, nil, int(min(n, 1<<30)), unix.SPLICE_F_MOVE|unix.SPLICE_F_MORE)
	})
	if cerr != nil {
		return 0, cerr
	}
	return moved, err
}

// waitReady waits until src has data and dst has room, for files that somebody
// else has set non-blocking.
func waitReady(dst, src *os.File) (err error) {
	cerr := onFDs(dst, src, func(out, in int) {
		for _, p := range []unix.PollFd{{Fd: int32(in), Events: unix.POLLIN}, {Fd: int32(out), Events: unix.POLLOUT}} {
			if _, err = unix.Poll([]unix.PollFd{p}, -1); err != nil && err != unix.EINTR {
				return
			}
		}
		err = nil
	})
	if cerr != nil {
		return cerr
	}
	return err
}

// onFDs calls f with both descriptors while neither file can be closed.
func onFDs(dst, src *os.File, f func(out, in int)) error {
	oc, err := dst.SyscallConn()
	if err != nil {
		return err
	}
	ic, err := src.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = oc.Control(func(out uintptr) {
		inner = ic.Control(func(in uintptr) { f(int(out), int(in)) })
	})
	if err != nil {
		return err
	}
	return inner
}

// arrives reports whether a file can be read, or is at its end, within a time.
func arrives(f *os.File, within time.Duration) bool {
	conn, err := f.SyscallConn()
	if err != nil {
		return true
	}
	ready := true
	_ = conn.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for end := time.Now().Add(within); ; {
			n, err := unix.Poll(p, int(max(0, time.Until(end).Milliseconds())))
			if err == unix.EINTR {
				continue
			}
			ready = n != 0
			return
		}
	})
	return ready
}

package files

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/stream"
	"ckpt/stream/record"
)

const (
	soPassRights = 83 // since kernel 6.16
	soBufLock    = 72 // since 5.14
)

// sockOptions are the options of level SOL_SOCKET that are integers and matter to
// unix sockets, in the order in which they are set. SO_BUF_LOCK is the last,
// because setting the buffer sizes changes it.
var sockOptions = []int{unix.SO_DEBUG, unix.SO_REUSEADDR, unix.SO_DONTROUTE, unix.SO_BROADCAST, unix.SO_KEEPALIVE, unix.SO_OOBINLINE,
	unix.SO_PRIORITY, unix.SO_PASSCRED, unix.SO_RCVLOWAT, unix.SO_TIMESTAMP, unix.SO_PASSSEC, unix.SO_TIMESTAMPNS, unix.SO_MARK,
	unix.SO_RXQ_OVFL, unix.SO_PEEK_OFF, unix.SO_PASSPIDFD, soPassRights, soBufLock}

// readSockOptions fills in the options of a socket.
func readSockOptions(fd int, rec *record.UnixSock) error {
	var errs [3]error
	rec.SndBuf, errs[0] = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	rec.RcvBuf, errs[1] = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if rec.SndTimeo, errs[2] = sockTimeout(fd, unix.SO_SNDTIMEO); errs[2] == nil {
		rec.RcvTimeo, errs[2] = sockTimeout(fd, unix.SO_RCVTIMEO)
	}
	linger, err := unix.GetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER)
	if err := errors.Join(append(errs[:], err)...); err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if linger.Onoff != 0 {
		rec.Linger = &record.Linger{Seconds: int(linger.Linger)}
	}
	for _, name := range sockOptions {
		v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, name)
		if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // not in this kernel, or not for this type
		}
		if err != nil {
			return fmt.Errorf("getsockopt %d: %w", name, err)
		}
		rec.Options = append(rec.Options, record.SockOption{Name: name, Value: v})
	}
	return nil
}

func sockTimeout(fd, name int) (us int64, err error) {
	tv, err := unix.GetsockoptTimeval(fd, unix.SOL_SOCKET, name)
	if err != nil {
		return 0, err
	}
	return tv.Nano() / 1000, nil
}

// checkSockOptions returns an error for impossible or unknown options.
func checkSockOptions(rec *record.UnixSock) error {
	if rec.SndBuf < 0 || rec.RcvBuf < 0 || rec.SndTimeo < 0 || rec.RcvTimeo < 0 || rec.Linger != nil && rec.Linger.Seconds < 0 {
		return fmt.Errorf("%w: a socket with negative buffers or timeouts", stream.ErrCorrupt)
	}
	for _, o := range rec.Options {
		if !slices.Contains(sockOptions, o.Name) {
			return fmt.Errorf("socket option %d is not known to this version", o.Name)
		}
	}
	return nil
}

// setSockOptions is the inverse of readSockOptions.
func setSockOptions(fd int, rec *record.UnixSock) error {
	err := errors.Join(
		setSockBuf(fd, "SO_SNDBUF", unix.SO_SNDBUF, unix.SO_SNDBUFFORCE, rec.SndBuf),
		setSockBuf(fd, "SO_RCVBUF", unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, rec.RcvBuf))
	for name, us := range map[int]int64{unix.SO_SNDTIMEO: rec.SndTimeo, unix.SO_RCVTIMEO: rec.RcvTimeo} {
		if us != 0 {
			tv := unix.NsecToTimeval(us * 1000)
			err = errors.Join(err, os.NewSyscallError("setsockopt", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, name, &tv)))
		}
	}
	if rec.Linger != nil {
		l := unix.Linger{Onoff: 1, Linger: int32(rec.Linger.Seconds)}
		err = errors.Join(err, os.NewSyscallError("setsockopt", unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &l)))
	}
	for _, o := range rec.Options {
		if now, e := unix.GetsockoptInt(fd, unix.SOL_SOCKET, o.Name); e == nil && now == o.Value {
			continue
		}
		if e := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.Name, o.Value); e != nil {
			err = errors.Join(err, fmt.Errorf("socket option %d to %d: %w", o.Name, o.Value, e))
		}
	}
	return err
}

// setSockBuf sets a buffer's size. The kernel doubles the value, after capping it
// at a limit that only the FORCE variants may exceed.
func setSockBuf(fd int, name string, opt, force, want int) error {
	now, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt)
	if err != nil || now == want {
		return os.NewSyscallError("getsockopt", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, want/2) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, want/2); err != nil {
			return fmt.Errorf("%s of a socket: %w", name, err)
		}
	}
	if now, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt); err == nil && now != want {
		return fmt.Errorf("%s of a socket can't be %d bytes again, only %d; more takes CAP_NET_ADMIN, see socket(7)", name, want, now)
	}
	return os.NewSyscallError("getsockopt", err)
}

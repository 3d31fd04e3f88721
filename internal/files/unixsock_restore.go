package files

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/object"
	"ckpt/stream"
	"ckpt/stream/record"
)

const (
	maxSockBytes = 256 << 20 // what one SOCKDATA record may hold
	fillBuf      = 512 << 20 // send buffer while a socket is refilled
	maxPID       = 1 << 22   // PID_MAX_LIMIT of linux/threads.h
	maxGroups    = 1 << 16   // NGROUPS_MAX of uapi linux/limits.h
)

// unixSock is a restored socket. Until Complete, what waits in it is written
// through other.
type unixSock struct {
	single
	rec    *record.UnixSock
	other  *depot.File
	peer   *unixSock // the other end, if that has a record
	closed bool      // the program had closed the other end
	alone  bool      // the record of the other end is still to come

	letters []letter
	kept    int64 // bytes of letters
	lives   func(pid int) bool
	note    func(format string, args ...any)
}

func checkUnixSock(rec *stream.Record) []error {
	s, err := decode[record.UnixSock](rec)
	if err == nil {
		err = judgeUnixSock(s)
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

func judgeUnixSock(s *record.UnixSock) error {
	switch {
	case s.Kind != unix.SOCK_STREAM && s.Kind != unix.SOCK_DGRAM && s.Kind != unix.SOCK_SEQPACKET,
		s.Shutdown&^shutBoth != 0, s.Ino == 0 || s.Ino == s.Peer, s.Orphan && s.Peer != 0, s.Reset && !s.Orphan, s.Outside && s.Peer == 0:
		return fmt.Errorf("%w: unix socket %d of type %d with peer %d", stream.ErrCorrupt, s.Ino, s.Kind, s.Peer)
	}
	if m := s.Maker; m != nil && (m.PID < 0 || m.PID > maxPID || len(m.Groups) > maxGroups) {
		return fmt.Errorf("%w: unix socket %d made by pid %d with %d groups", stream.ErrCorrupt, s.Ino, m.PID, len(m.Groups))
	}
	return checkSockOptions(s)
}

// sockMaker makes the unix sockets of a restart.
type sockMaker struct {
	*Restorer
	alone map[uint64]*unixSock // those whose peer's record is still to come, by the peer's inode number
}

// make makes a pair for the first of two ends; the second end gets the other half.
func (r *sockMaker) make(rec *stream.Record) (object.Object, error) {
	s, err := decode[record.UnixSock](rec)
	if err != nil {
		return nil, err
	}
	u := &unixSock{rec: s, closed: s.Orphan, lives: r.Lives, note: r.Note}
	switch first := r.alone[s.Ino]; {
	case first != nil:
		if first.rec.Ino != s.Peer || first.rec.Kind != s.Kind {
			return nil, fmt.Errorf("%w: unix sockets %d and %d are not a pair", stream.ErrCorrupt, s.Ino, first.rec.Ino)
		}
		delete(r.alone, s.Ino)
		u.f, u.other, first.alone = first.other, first.f, false
		u.peer, first.peer = first, u
	case s.Peer == 0 && !s.Orphan:
		fd, err := unix.Socket(unix.AF_UNIX, s.Kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("make a unix socket: %w", err)
		}
		if err := r.keepSocket(u, fd, -1); err != nil {
			return nil, err
		}
	default:
		fds, err := r.pair(s)
		if err != nil {
			return nil, fmt.Errorf("make a pair of unix sockets: %w", err)
		}
		if err := r.keepSocket(u, fds[0], fds[1]); err != nil {
			return nil, err
		}
		if u.alone = !s.Orphan; u.alone {
			r.alone[s.Peer] = u
		}
	}
	f, err := u.f.Dup()
	if err == nil {
		err = errors.Join(r.chown(f, s.UID, s.GID, fmt.Sprintf("socket:[%d]", s.Ino)), f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("owner of a unix socket: %w", err), u.Close())
	}
	return u, nil
}

// keepSocket takes over a socket and its other end, which may be -1.
func (r *Restorer) keepSocket(u *unixSock, fd, other int) error {
	const name = "a unix socket"
	var errs [2]error
	u.f, errs[0] = r.Depot.Keep(os.NewFile(uintptr(fd), name))
	if other >= 0 {
		u.other, errs[1] = r.Depot.Keep(os.NewFile(uintptr(other), name))
	}
	return errors.Join(errs[:]...)
}

func (r *Restorer) pair(s *record.UnixSock) ([2]int, error) {
	if r.Pair == nil {
		return unix.Socketpair(unix.AF_UNIX, s.Kind|unix.SOCK_CLOEXEC, 0)
	}
	return r.Pair(s.Kind, s.Maker)
}

// Close drops our reference. The other end is closed by its own object, if there is
// one.
func (u *unixSock) Close() error {
	if u.other != nil && (u.closed || u.alone) {
		return errors.Join(u.f.Close(), u.other.Close())
	}
	return u.f.Close()
}

// Fill writes the bytes of a SOCKDATA record, through the other end.
func (u *unixSock) Fill(rec *stream.Record, data io.Reader) error {
	d, err := decode[record.SockData](rec)
	if err != nil {
		return err
	}
	messages := d.Messages
	if u.rec.Kind == unix.SOCK_STREAM {
		messages = []int64{rec.DataLen}
	}
	if u.other == nil || rec.DataLen > maxSockBytes {
		return fmt.Errorf("%w: %d bytes in a unix socket", stream.ErrCorrupt, rec.DataLen)
	}
	buf := make([]byte, rec.DataLen)
	if _, err := io.ReadFull(data, buf); err != nil {
		return stream.ErrTruncated
	}
	// Make room for all of it; Complete sets the size the program had.
	to, err := u.other.Fd()
	if err != nil {
		return err
	}
	if unix.SetsockoptInt(to, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, fillBuf) != nil {
		_ = unix.SetsockoptInt(to, unix.SOL_SOCKET, unix.SO_SNDBUF, fillBuf) // sending will fail if it is too small
	}
	if len(d.Creds) > 0 || u.letters != nil {
		return u.keepLetters(d, messages, buf)
	}
	for _, n := range messages {
		if n < 0 || n > int64(len(buf)) {
			return fmt.Errorf("%w: message of %d bytes", stream.ErrCorrupt, n)
		}
		if err := sendAll(to, buf[:n], u.rec.Kind == unix.SOCK_STREAM); err != nil {
			return fmt.Errorf("refill a unix socket with %d bytes: %w", n, err)
		}
		buf = buf[n:]
	}
	return nil
}

// sendAll sends a message, or all of a stream's bytes.
func sendAll(fd int, b []byte, isStream bool) error {
	for {
		n, err := unix.SendmsgN(fd, b, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if b = b[n:]; len(b) == 0 {
			return nil
		}
		if !isStream || n == 0 {
			return io.ErrShortWrite
		}
	}
}

// Complete closes and shuts down what the program had, and sets options.
func (u *unixSock) Complete() error {
	if u.alone {
		return fmt.Errorf("%w: the other end (%[3]d) of unix socket %[2]d is not in the image", stream.ErrCorrupt, u.rec.Ino, u.rec.Peer)
	}
	// Send those of both ends before either is shut down.
	for _, end := range []*unixSock{u, u.peer} {
		if end == nil || end.letters == nil {
			continue
		}
		if err := end.sendLetters(); err != nil {
			return err
		}
	}
	fd, err := u.f.Fd()
	if err != nil {
		return err
	}
	if u.closed && u.other != nil {
		if u.rec.Reset { // closing with unread bytes resets the connection
			if err := sendAll(fd, []byte{0}, true); err != nil {
				return fmt.Errorf("reset a unix socket: %w", err)
			}
		}
		if err := u.other.Close(); err != nil {
			return err
		}
	}
	u.other = nil
	if u.rec.Shutdown != 0 {
		if err := unix.Shutdown(fd, u.rec.Shutdown-1); err != nil {
			return fmt.Errorf("shut down a unix socket: %w", err)
		}
	}
	return setSockOptions(fd, u.rec)
}

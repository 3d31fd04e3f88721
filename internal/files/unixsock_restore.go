package files

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
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
	m        *sockMaker
	rec      *record.UnixSock
	other    *depot.File // the other end
	peer     *unixSock   // that as an object, if it has a record
	closed   bool        // the other end has none, and is to be closed
	path     *depot.File // the file that it is bound to
	place    *place      // nil if no path leads to that
	listener *listener

	rights    []*record.SockRights
	letters   []letter
	kept      int64 // bytes of letters
	connected bool  // see connectDatagram
}

func judgeUnixSock(s *record.UnixSock) error {
	bad := func(what string) error {
		return fmt.Errorf("%w: unix socket %d of type %d with peer %d %s", stream.ErrCorrupt, s.Ino, s.Kind, s.Peer, what)
	}
	waits := s.Outside && len(s.PeerName) > 0 && !s.Orphan // for somebody outside to accept it
	switch {
	case s.Kind != unix.SOCK_STREAM && s.Kind != unix.SOCK_DGRAM && s.Kind != unix.SOCK_SEQPACKET,
		s.Shutdown&^shutBoth != 0, s.Ino == 0 || s.Ino == s.Peer && !joinsItself(s), s.Orphan && s.Peer != 0, s.Reset && !s.Orphan, s.Outside && s.Peer == 0 && !waits:
		return bad("")
	case !checkName(s.Name) || !checkName(s.PeerName):
		return bad(fmt.Sprintf("bound to %q and connected to %q", s.Name, s.PeerName))
	case len(s.PeerName) > 0 && !s.Orphan && !s.Outside:
		return bad("that is in the image and named")
	case s.Accepted && (len(s.Name) == 0 || s.Kind == unix.SOCK_DGRAM || s.Peer == 0 && !s.Orphan),
		s.Listen != nil && (len(s.Name) == 0 || s.Kind == unix.SOCK_DGRAM || s.Accepted || s.Peer != 0 || s.Orphan || s.Outside):
		return bad("that listens or was accepted")
	}
	if err := judgeSockFile(s); err != nil {
		return err
	}
	if m := s.Maker; m != nil && (m.PID < 0 || m.PID > maxPID || len(m.Groups) > maxGroups) {
		return fmt.Errorf("%w: unix socket %d made by pid %d with %d groups", stream.ErrCorrupt, s.Ino, m.PID, len(m.Groups))
	}
	if l := s.Listen; l != nil && (l.Backlog < 0 || l.Backlog > 1<<32-1 || len(l.Waiting) > maxLetters) {
		return fmt.Errorf("%w: unix socket %d listens with backlog %d", stream.ErrCorrupt, s.Ino, l.Backlog)
	}
	return checkSockOptions(s)
}

// joinsItself reports whether a socket may be connected to itself: one for datagrams, by its
// own address.
func joinsItself(s *record.UnixSock) bool {
	return s.Kind == unix.SOCK_DGRAM && len(s.Name) > 0 && s.Maker == nil
}

// judgeSockFile checks what is said of the file that a socket is bound to.
func judgeSockFile(s *record.UnixSock) error {
	own := len(s.Name) > 0 && s.Name[0] != 0 && !s.Accepted
	switch f := s.File; {
	case own != (f != nil), own && f.Deleted == (f.Folder != nil):
		return fmt.Errorf("%w: unix socket %d bound to %q", stream.ErrCorrupt, s.Ino, s.Name)
	case !own:
		return nil
	case f.Mode&unix.S_IFMT != unix.S_IFSOCK:
		return fmt.Errorf("%w: the file %q of mode %#o of a unix socket", stream.ErrCorrupt, f.Path, f.Mode)
	case f.Deleted:
		return checkPath(f.Path)
	case filepath.Dir(f.Path) != f.Folder.Path || filepath.Clean(f.Path) != f.Path:
		return fmt.Errorf("%w: file %q of a unix socket in %q", stream.ErrCorrupt, f.Path, f.Folder.Path)
	}
	return errors.Join(checkPath(s.File.Path), checkPath(s.File.Folder.Path))
}

// Close drops our reference. The other end is closed by its own object, if there is
// one.
func (u *unixSock) Close() error {
	err := errors.Join(u.m.clear(), u.f.Close(), u.path.Close())
	if u.other != nil && u.closed {
		err = errors.Join(err, u.other.Close())
	}
	return err
}

// Fill writes the bytes of a SOCKDATA record, through the other end.
func (u *unixSock) Fill(rec *stream.Record, data io.Reader) error {
	d, err := decode[record.SockData](rec)
	if err != nil {
		return err
	}
	if u.other == nil && u.m.anew(u.rec) != nil && u.rec.Kind != unix.SOCK_DGRAM {
		u.m.Note("%d bytes that waited in a connection to the unix socket %s are lost, because it is connected anew", rec.DataLen, nameText(u.rec.PeerName))
		return nil
	}
	messages := d.Messages
	if u.rec.Kind == unix.SOCK_STREAM {
		messages = []int64{rec.DataLen}
	}
	if u.other == nil && (u.rec.Kind != unix.SOCK_DGRAM || len(u.rec.Name) == 0) || rec.DataLen > maxSockBytes {
		return fmt.Errorf("%w: %d bytes in a unix socket", stream.ErrCorrupt, rec.DataLen)
	}
	buf := make([]byte, rec.DataLen)
	if _, err := io.ReadFull(data, buf); err != nil {
		return stream.ErrTruncated
	}
	if len(d.Creds) > 0 || u.letters != nil || len(u.rights) > 0 || u.rec.Kind == unix.SOCK_DGRAM && (len(u.rec.Name) > 0 || len(d.Senders) > 0) {
		return u.keepLetters(d, messages, buf)
	}
	to, err := u.other.Fd()
	if err != nil {
		return err
	}
	widen(to)
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

// widen makes room for all that is sent; Complete sets the size the program had.
func widen(fd int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, fillBuf) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, fillBuf) // sending will fail if it is too small
	}
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
	if !u.m.delivered { // before any is shut down
		u.m.delivered = true
		if err := u.m.deliver(); err != nil {
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
	if err := u.setFile(); err != nil {
		return err
	}
	if u.rec.Shutdown != 0 {
		if err := unix.Shutdown(fd, u.rec.Shutdown-1); err != nil {
			return fmt.Errorf("shut down a unix socket: %w", err)
		}
	}
	return setSockOptions(fd, u.rec)
}

// setFile sets the owner and mode of the file that it is bound to.
func (u *unixSock) setFile() error {
	if u.path == nil || u.rec.File == nil {
		return nil
	}
	fd, err := u.path.Fd()
	if err != nil {
		return err
	}
	file := u.rec.File
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Uid != file.UID || st.Gid != file.GID {
		err := unix.Fchownat(fd, "", int(file.UID), int(file.GID), unix.AT_EMPTY_PATH)
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
			u.m.Note("the unix socket %s belongs to user %d from now on: giving it back to user %d takes CAP_CHOWN", nameText(u.rec.Name), st.Uid, file.UID)
		} else if err != nil {
			return fmt.Errorf("owner of the unix socket %s: %w", nameText(u.rec.Name), err)
		}
	}
	if err := unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), file.Mode&0o7777); err != nil {
		return fmt.Errorf("mode of the unix socket %s: %w", nameText(u.rec.Name), err)
	}
	// By this the next restore knows that it may replace it. Without the right to set
	// it that is refused.
	ts := unix.NsecToTimespec(file.MtimeNS)
	_ = unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), []unix.Timespec{ts, ts}, 0)
	return nil
}

// Commit puts the file that it is bound to in its place.
func (u *unixSock) Commit() error {
	if u.place == nil {
		return nil
	}
	return u.place.put()
}

// Undo takes back what Commit did.
func (u *unixSock) Undo() error { return u.place.undo() }

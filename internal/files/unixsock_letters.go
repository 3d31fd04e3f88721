package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// letter is a message, or bytes of a stream, that is sent only when the process
// that is to be its sender exists.
type letter struct {
	data []byte
	from record.SockCreds
	name []byte // the address it is sent from
	// files are the descriptions that are in flight with it, by objref.
	files []uint64
}

// keepLetters is Fill for messages that name their senders, or that anybody may have
// sent.
func (u *unixSock) keepLetters(d *record.SockData, lengths []int64, buf []byte) error {
	runs, names := d.Creds, d.Senders
	keep := func(n int64, from record.SockCreds) error {
		l := letter{from: from}
		if len(names) > 0 && u.rec.Kind == unix.SOCK_DGRAM {
			l.name = names[0].Name
			if names[0].Count--; names[0].Count <= 0 {
				names = names[1:]
			}
		}
		if n < 0 || !checkName(l.name) || n > int64(len(buf)) || len(u.letters) >= maxLetters {
			return fmt.Errorf("%w: message of %d bytes", stream.ErrCorrupt, n)
		}
		if u.kept += n; u.kept > maxSockBytes {
			return fmt.Errorf("%w: %d bytes in a unix socket", stream.ErrCorrupt, u.kept)
		}
		l.data, buf = buf[:n], buf[n:]
		u.letters = append(u.letters, l)
		return nil
	}
	if u.rec.Kind == unix.SOCK_STREAM {
		for _, r := range runs {
			if err := keep(r.Count, r); err != nil {
				return err
			}
		}
		return keep(int64(len(buf)), noSender)
	}
	for _, n := range lengths {
		from := noSender
		if len(runs) > 0 {
			from = runs[0]
			if runs[0].Count--; runs[0].Count <= 0 {
				runs = runs[1:]
			}
		}
		if err := keep(n, from); err != nil {
			return err
		}
	}
	return nil
}

// maxLetters is more than any queue holds: net.unix.max_dgram_qlen bounds messages,
// and each run of a stream's bytes takes memory of the sender's buffer.
const maxLetters = 1 << 20

// deliver sends what waits in all sockets and was not sent yet, and then connects those
// that are connected by name.
func (m *sockMaker) deliver() error {
	for _, s := range m.recs {
		if u := m.socks[s.Ino]; u != nil {
			if err := u.sendLetters(); err != nil {
				return err
			}
		}
	}
	for _, s := range m.recs {
		if u := m.socks[s.Ino]; u != nil {
			if err := u.connectDatagram(); err != nil {
				return err
			}
		}
	}
	return nil
}

// sendLetters sends what keepLetters kept, now that all processes exist.
func (u *unixSock) sendLetters() error {
	if len(u.rights) > 0 {
		if err := u.withRights(); err != nil {
			return err
		}
	}
	told := map[int]bool{}
	for i := range u.letters {
		l := &u.letters[i]
		if u.rec.Kind == unix.SOCK_STREAM && len(l.data) == 0 {
			continue
		}
		err := u.sendLetter(l, told)
		if errors.Is(err, unix.EAGAIN) && u.rec.Kind == unix.SOCK_DGRAM { // nothing limits what its other end sends
			if err = u.connectDatagram(); err == nil {
				err = u.sendLetter(l, told)
			}
		}
		if err != nil {
			return fmt.Errorf("refill a unix socket with %d bytes: %w", len(l.data), err)
		}
	}
	u.letters = nil
	return nil
}

func (u *unixSock) sendLetter(l *letter, told map[int]bool) error {
	from, to, temp, err := u.sender(l)
	if err != nil {
		return err
	}
	if temp {
		defer unix.Close(from)
	}
	widen(from)
	control, done, err := u.m.rightsOf(l)
	defer done()
	if err != nil {
		return err
	}
	if l.from.PID != 0 && u.m.Lives != nil && u.m.Lives(l.from.PID) {
		cred := unix.UnixCredentials(&unix.Ucred{Pid: int32(l.from.PID), Uid: l.from.UID, Gid: l.from.GID})
		n, err := sys.SendUnix(from, l.data, slices.Concat(control, cred), to, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if err == nil {
			control = nil
			if l.data = l.data[n:]; len(l.data) == 0 {
				return nil
			}
		} else if err != unix.EPERM && err != unix.ESRCH {
			return err
		}
	}
	if l.from.PID != 0 && !told[l.from.PID] {
		told[l.from.PID] = true
		u.m.Note("a message that waits in a unix socket no longer names pid %d as its sender", l.from.PID)
	}
	if to == nil && control == nil {
		return sendAll(from, l.data, u.rec.Kind == unix.SOCK_STREAM)
	}
	n, err := sys.SendUnix(from, l.data, control, to, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if err == nil && n < len(l.data) && u.rec.Kind == unix.SOCK_STREAM {
		return sendAll(from, l.data[n:], true)
	}
	if err == nil && n < len(l.data) {
		err = io.ErrShortWrite
	}
	return err
}

// sender returns the socket that a letter is sent from, and where to; nil for the other
// end. It may be one for this letter only.
func (u *unixSock) sender(l *letter) (from int, to []byte, temp bool, err error) {
	if u.other != nil && (u.rec.Kind != unix.SOCK_DGRAM || len(u.rec.Name) == 0 || bytes.Equal(u.otherName(), l.name)) {
		from, err = u.other.Fd()
		return from, nil, false, err
	}
	if to, err = u.address(u.path, u.rec.Name); err != nil {
		return -1, nil, false, err
	}
	if s := u.m.named[sockName{unix.SOCK_DGRAM, string(l.name)}]; s != nil {
		from, err = u.m.socks[s.Ino].f.Fd()
		return from, to, false, err
	}
	if from, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, nil, false, os.NewSyscallError("socket", err)
	}
	if len(l.name) == 0 {
		return from, to, true, nil
	}
	path, err := u.m.bindTemp(from, l.name)
	if errors.Is(err, unix.EADDRINUSE) {
		u.m.Note("a message that waits in the unix socket %s no longer tells that it was sent from %s, an address that is in use", nameText(u.rec.Name), nameText(l.name))
		err = nil
	}
	if err := errors.Join(err, path.Close()); err != nil {
		unix.Close(from)
		return -1, nil, false, err
	}
	return from, to, true, nil
}

func (u *unixSock) otherName() []byte {
	if u.peer != nil {
		return u.peer.rec.Name
	}
	return u.rec.PeerName
}

// address is where to send to a socket with a name, or to connect to it.
func (u *unixSock) address(path *depot.File, name []byte) ([]byte, error) {
	if path == nil {
		if len(name) == 0 {
			return nil, fmt.Errorf("%w: a message to unix socket %d, which has no address", stream.ErrCorrupt, u.rec.Ino)
		}
		return name, nil
	}
	fd, err := path.Fd()
	return ViaName(fd), err
}

// connectDatagram connects a datagram socket by name. Once one is connected, nobody but
// its other end can connect to it, so all others go first.
func (u *unixSock) connectDatagram() error {
	s, m := u.rec, u.m
	to, gone := m.socks[s.Peer], (s.Outside || s.Orphan) && len(s.PeerName) > 0
	if u.connected || s.Kind != unix.SOCK_DGRAM || u.other != nil || to == nil && !gone {
		return nil
	}
	u.connected = true
	for _, o := range m.to[s.Ino] {
		if o.Ino != s.Peer {
			if err := m.socks[o.Ino].connectDatagram(); err != nil {
				return err
			}
		}
	}
	switch {
	case m.anew(s) != nil:
		return m.datagramAnew(u)
	case gone:
		return u.connectToGone()
	}
	addr, err := u.address(to.path, to.rec.Name)
	if err != nil {
		return err
	}
	fd, err := u.f.Fd()
	if err == nil {
		err = sys.ConnectUnix(fd, addr)
	}
	if err != nil {
		return fmt.Errorf("connect a unix socket to %s: %w", nameText(to.rec.Name), err)
	}
	return nil
}

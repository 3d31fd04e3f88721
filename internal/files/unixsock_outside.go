package files

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/ends"
	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// A socket whose other end is outside can be connected to the same address again, or the
// program sees that the other side has closed it.

// proposal is what is proposed for a socket whose other end is outside. A name can be
// connected to if it is found without the working folder of whoever gave it.
func proposal(s *record.UnixSock) string {
	if n := s.PeerName; !s.Accepted && len(n) > 0 && (n[0] == 0 || n[0] == '/') && (s.Kind != unix.SOCK_DGRAM || s.Maker == nil) {
		return "connect"
	}
	return "close"
}

// reconnects reports whether a socket is connected again without being asked to:
// nothing is said on a datagram socket before, and syslog(3) does it by itself.
func reconnects(s *record.UnixSock) bool {
	return s.Kind == unix.SOCK_DGRAM && proposal(s) == "connect"
}

// anew returns the decision to connect a socket again, nil if there is none.
func (m *sockMaker) anew(s *record.UnixSock) *ends.Decision {
	if d := m.replacements.joined[s.Objref]; s.Outside && d != nil && d.Action == ends.Connect {
		return d
	}
	return nil
}

// closes reports whether the other end of a socket, which is outside, was decided to have gone.
func (m *sockMaker) closes(s *record.UnixSock) bool {
	d := m.replacements.joined[s.Objref]
	return s.Outside && d != nil && d.Action == ends.Close
}

// as calls do with the rights of who uses a socket.
func (m *sockMaker) as(s *record.UnixSock, do func() error) error {
	u := m.Users[s.Objref]
	if u == nil {
		return do()
	}
	if err := m.become(u.identity(), nameText(s.PeerName)); err != nil {
		return err
	}
	return sys.AsFS(u.identity(), do)
}

// checkAnew says why a socket can't be connected again, as far as can be seen without
// connecting to anything.
func (m *sockMaker) checkAnew(s *record.UnixSock) error {
	d := m.anew(s)
	if d == nil || d.Flag == "" {
		return nil // what is done by default may fail
	}
	err := m.as(s, func() error { return canBeReached(s) })
	if err != nil {
		return m.notAnew(s, err)
	}
	return nil
}

func canBeReached(s *record.UnixSock) error {
	if s.PeerName[0] != 0 {
		var st unix.Stat_t
		if err := unix.Stat(string(s.PeerName), &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
			return errors.New("it is no socket")
		}
		return unix.Faccessat(unix.AT_FDCWD, string(s.PeerName), unix.W_OK, unix.AT_EACCESS)
	}
	all, err := new(sys.UnixTable).All()
	if err != nil {
		return err
	}
	for _, o := range all {
		if o.Type == s.Kind && bytes.Equal(o.Name, s.PeerName) && (o.State == sys.UnixListening || o.Type == unix.SOCK_DGRAM) {
			return nil
		}
	}
	return unix.ECONNREFUSED
}

func (m *sockMaker) notAnew(s *record.UnixSock, err error) error {
	who := "the program"
	if u := m.Users[s.Objref]; u != nil {
		who = fmt.Sprintf("pid %d (%s)", u.PID, u.Comm)
	}
	return cli.WithHint(fmt.Errorf("%s was connected to the unix socket %s and can't be again: %w", who, nameText(s.PeerName), err),
		"start the program that it was connected to, or let it see that this has gone: "+ends.Flag(ends.UnixName(s.PeerName), "close"))
}

// connectAnew connects a socket again, as the process that has it.
func (m *sockMaker) connectAnew(u *unixSock) error {
	fd, err := u.f.Fd()
	if err != nil {
		return err
	}
	if err := m.sockCall(m.userOf(u.rec), &SockCall{FD: fd, Name: u.rec.PeerName, Via: -1}); err != nil {
		return m.notAnew(u.rec, err)
	}
	return nil
}

// datagramAnew does so for a datagram socket, to which nobody else can send then.
func (m *sockMaker) datagramAnew(u *unixSock) error {
	fd, err := u.f.Fd()
	if err != nil {
		return err
	}
	s := u.rec
	err = m.as(s, func() error { return os.NewSyscallError("connect", sys.ConnectUnix(fd, s.PeerName)) })
	switch {
	case err == nil:
		return nil
	case m.anew(s).Flag != "":
		return m.notAnew(s, err)
	}
	m.Note("%v; the program sees that it has gone", m.notAnew(s, err))
	return u.connectToGone()
}

// connectToGone connects a datagram socket to one that is closed.
func (u *unixSock) connectToGone() error {
	m, name := u.m, u.rec.PeerName
	other, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(other)
	path, err := m.bindTemp(other, name)
	if errors.Is(err, unix.EADDRINUSE) {
		m.Note("%s was connected to the unix socket %s, which is gone and whose name is in use; it is not connected any more", fmt.Sprintf("socket:[%d]", u.rec.Ino), nameText(name))
		return nil
	}
	if err != nil {
		return err
	}
	defer path.Close()
	to, err := u.address(path, name)
	if err != nil {
		return err
	}
	fd, err := u.f.Fd()
	if err == nil {
		err = sys.ConnectUnix(fd, to)
	}
	return err
}

// Package netlink has what the kernel's subsystems that are told of things by netlink(7)
// have in common: messages, attributes, and the socket.
package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Errors of what was received.
var (
	ErrMessage = errors.New("a message that is not whole")
	ErrChanged = errors.New("it changed while it was listed")
)

// Socket is one.
type Socket struct{ f *os.File }

// Dial makes one, of this network namespace.
func Dial(protocol int, name string) (*Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, os.NewSyscallError("socket", err))
	}
	f := os.NewFile(uintptr(fd), name)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), f.Close())
	}
	return Of(f), nil
}

// Of returns the Socket that a file is.
func Of(f *os.File) *Socket { return &Socket{f} }

// File is its file.
func (s *Socket) File() *os.File { return s.f }

// Close closes it here.
func (s *Socket) Close() error { return s.f.Close() }

// Send sends messages to the kernel, which takes them before it returns.
func (s *Socket) Send(b []byte) error {
	fd := int(s.f.Fd())
	if room, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err == nil && room < len(b)+1<<12 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, len(b)+1<<12); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	for {
		err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err != unix.EINTR {
			return os.NewSyscallError("sendto", err)
		}
	}
}

// Receive hands on the messages with a number, as long as there are some, or until the
// last of a list. It returns the first error that the kernel tells.
func (s *Socket) Receive(flags int, seq uint32, each func(typ int, b []byte) error) (first error) {
	buf := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(int(s.f.Fd()), buf, flags)
		switch err {
		case nil:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return first
		default:
			return os.NewSyscallError("recvfrom", err)
		}
		done, err := Split(buf[:n], seq, each)
		if first == nil {
			first = err
		}
		if done && flags == 0 {
			return first
		}
	}
}

// Split takes apart the messages of a datagram. done: the last was among them.
func Split(b []byte, seq uint32, each func(typ int, b []byte) error) (done bool, first error) {
	e := binary.NativeEndian
	for len(b) > 0 {
		if len(b) < unix.SizeofNlMsghdr {
			return true, ErrMessage
		}
		n := int(e.Uint32(b))
		if n < unix.SizeofNlMsghdr || n > len(b) {
			return true, ErrMessage
		}
		typ, body, err := int(e.Uint16(b[4:])), b[unix.SizeofNlMsghdr:n], error(nil)
		if e.Uint16(b[6:])&unix.NLM_F_DUMP_INTR != 0 {
			err = ErrChanged
		}
		switch ours := e.Uint32(b[8:]) == seq; {
		case !ours: // the answer to a question of somebody who had this socket and died
			err = nil
		case typ == unix.NLMSG_DONE && len(body) >= 4 && e.Uint32(body) != 0:
			done, err = true, unix.Errno(-int32(e.Uint32(body)))
		case typ == unix.NLMSG_DONE:
			done = true
		case typ == unix.NLMSG_ERROR && len(body) < 4:
			done, err = true, ErrMessage
		case typ == unix.NLMSG_ERROR && e.Uint32(body) != 0:
			done, err = true, unix.Errno(-int32(e.Uint32(body)))
		case err == nil:
			err = each(typ, body)
		}
		if first == nil {
			first = err
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return done, first
}

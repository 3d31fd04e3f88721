package sys

import (
	"bytes"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The names of unix sockets are bytes, as in sun_path of unix(7): a path without the
// zero byte at its end, or a name that begins with a zero byte. The functions of
// x/sys/unix take neither a path of 108 bytes, nor one that begins with @, nor a name
// with a second zero byte.

// MaxUnixName is the length of sun_path.
const MaxUnixName = 108

// unixAddr is struct sockaddr_un.
type unixAddr struct {
	family uint16
	path   [MaxUnixName]byte
}

const unixAddrHead = unsafe.Offsetof(unixAddr{}.path)

// newUnixAddr returns an address and its length.
func newUnixAddr(name []byte) (*unixAddr, uintptr, error) {
	if len(name) == 0 || len(name) > MaxUnixName {
		return nil, 0, unix.EINVAL
	}
	a := &unixAddr{family: unix.AF_UNIX}
	n := copy(a.path[:], name)
	if name[0] != 0 && n < MaxUnixName {
		n++
	}
	return a, unixAddrHead + uintptr(n), nil
}

// UnixAddr is the address of a name as bind(2) takes it.
func UnixAddr(name []byte) []byte {
	a, n, err := newUnixAddr(name)
	if err != nil {
		return nil
	}
	return bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(a)), n))
}

// name is what newUnixAddr was given, of an address that the kernel wrote.
func (a *unixAddr) name(length uint32) []byte {
	n := min(int(length)-int(unixAddrHead), len(a.path))
	if n <= 0 {
		return nil
	}
	name := bytes.Clone(a.path[:n])
	if name[0] != 0 {
		name, _, _ = bytes.Cut(name, []byte{0})
	}
	return name
}

// BindUnix is bind(2).
func BindUnix(fd int, name []byte) error { return unixCall(unix.SYS_BIND, fd, name) }

// ConnectUnix is connect(2), which does not wait if the socket is not blocking.
func ConnectUnix(fd int, name []byte) error { return unixCall(unix.SYS_CONNECT, fd, name) }

func unixCall(nr uintptr, fd int, name []byte) error {
	a, n, err := newUnixAddr(name)
	if err != nil {
		return err
	}
	for {
		_, _, e := unix.Syscall(nr, uintptr(fd), uintptr(unsafe.Pointer(a)), n)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return e
		}
		return nil
	}
}

// UnixPeer returns the name of the other end, nil if it has none.
func UnixPeer(fd int) ([]byte, error) {
	var a unixAddr
	n := uint32(unsafe.Sizeof(a))
	_, _, e := unix.RawSyscall(unix.SYS_GETPEERNAME, uintptr(fd), uintptr(unsafe.Pointer(&a)), uintptr(unsafe.Pointer(&n)))
	if e != 0 {
		return nil, os.NewSyscallError("getpeername", e)
	}
	return a.name(n), nil
}

// RecvUnix is recvmsg(2) of a unix socket. It tells also who sent the message.
func RecvUnix(fd int, buf, control []byte, flags int) (n, controlBytes, got int, from []byte, err error) {
	var a unixAddr
	msg, _ := newMsghdr(buf, control)
	msg.Name, msg.Namelen = (*byte)(unsafe.Pointer(&a)), uint32(unsafe.Sizeof(a))
	r, _, e := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(msg)), uintptr(flags))
	if e != 0 {
		return 0, 0, 0, nil, e
	}
	if msg.Namelen > 0 {
		from = a.name(msg.Namelen)
	}
	return int(r), int(msg.Controllen), int(msg.Flags), from, nil
}

// SendUnix is sendmsg(2) to the socket with a name; with nil, to the other end.
func SendUnix(fd int, b, control, name []byte, flags int) (int, error) {
	msg, _ := newMsghdr(b, control)
	if name != nil {
		a, n, err := newUnixAddr(name)
		if err != nil {
			return 0, err
		}
		msg.Name, msg.Namelen = (*byte)(unsafe.Pointer(a)), uint32(n)
	}
	r, _, e := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(msg)), uintptr(flags))
	if e != 0 {
		return 0, e
	}
	return int(r), nil
}

func newMsghdr(b, control []byte) (*unix.Msghdr, *unix.Iovec) {
	iov := new(unix.Iovec)
	if len(b) > 0 {
		iov.Base = &b[0]
		iov.SetLen(len(b))
	}
	msg := &unix.Msghdr{Iov: iov}
	msg.SetIovlen(1)
	if len(control) > 0 {
		msg.Control = &control[0]
		msg.SetControllen(len(control))
	}
	return msg, iov
}

const siocUnixFile = 0x89e0 // SIOCUNIXFILE of uapi linux/un.h

// UnixFile opens (O_PATH) the file that a unix socket is bound to, wherever that is.
// It takes CAP_NET_ADMIN. ENOENT: it is bound to none.
func UnixFile(fd int, name string) (*os.File, error) {
	n, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), siocUnixFile, 0)
	if e != 0 {
		return nil, os.NewSyscallError("ioctl", e)
	}
	return os.NewFile(n, name), nil
}

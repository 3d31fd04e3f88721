package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Getsockopt is getsockopt(2) into b, and returns the length that the kernel tells. A
// buffer of no bytes asks for the length only, where the option knows that.
func Getsockopt(fd, level, name int, b []byte) (int, error) {
	n := uint32(len(b))
	return getsockopt(fd, level, name, b, n)
}

func getsockopt(fd, level, name int, b []byte, n uint32) (int, error) {
	_, _, e := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(unsafe.Pointer(&n)), 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// GetsockoptInt is getsockopt(2) of an int. It never waits long, and there may be a
// million, so the Go scheduler is not told.
func GetsockoptInt(fd, level, name int) (int, error) {
	var v int32
	n := uint32(unsafe.Sizeof(v))
	_, _, e := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&v)), uintptr(unsafe.Pointer(&n)), 0)
	if e != 0 {
		return 0, e
	}
	return int(v), nil
}

// Setsockopt is setsockopt(2).
func Setsockopt(fd, level, name int, b []byte) error {
	_, _, e := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0)
	if e != 0 {
		return e
	}
	return nil
}

// Disconnect is connect(2) to AF_UNSPEC, which ends a connection at once.
func Disconnect(fd int) error {
	var a unix.RawSockaddr // whose family is AF_UNSPEC
	_, _, e := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&a)), unsafe.Sizeof(a))
	if e != 0 {
		return e
	}
	return nil
}

const instructionBytes = 8 // struct sock_filter of uapi linux/filter.h

// SocketFilter returns the classic BPF program that is attached to a socket, none if
// nil. SO_GET_FILTER counts in instructions. EACCES: the program is an eBPF one.
func SocketFilter(fd int) ([]byte, error) {
	count, err := getsockopt(fd, unix.SOL_SOCKET, unix.SO_GET_FILTER, nil, 0)
	if err != nil || count == 0 {
		return nil, err
	}
	b := make([]byte, count*instructionBytes)
	n, err := getsockopt(fd, unix.SOL_SOCKET, unix.SO_GET_FILTER, b, uint32(count))
	return b[:min(n*instructionBytes, len(b))], err
}

// AttachFilter attaches such a program, of at least one instruction.
func AttachFilter(fd int, program []byte) error {
	if len(program) < instructionBytes || len(program)/instructionBytes > 1<<16-1 {
		return unix.EINVAL
	}
	fprog := unix.SockFprog{Len: uint16(len(program) / instructionBytes), Filter: (*unix.SockFilter)(unsafe.Pointer(&program[0]))}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog)
}

package sys

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MQAttr is struct mq_attr of linux/mqueue.h.
type MQAttr struct {
	Flags, MaxMessages, MessageBytes, Messages int64
	_                                          [4]int64
}

var _ [64]byte = [unsafe.Sizeof(MQAttr{})]byte{}

// OpenMQueue is mq_open(3), with the name as the kernel takes it, without a slash. attr is
// for a new queue.
func OpenMQueue(name string, flags int, mode uint32, attr *MQAttr) (*os.File, error) {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return nil, err
	}
	for {
		fd, _, e := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(p)), uintptr(flags), uintptr(mode), uintptr(unsafe.Pointer(attr)), 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return nil, &os.PathError{Op: "mq_open", Path: "/" + name, Err: e}
		}
		return os.NewFile(fd, "/"+name), nil
	}
}

// UnlinkMQueue is mq_unlink(3).
func UnlinkMQueue(name string) error {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	if _, _, e := unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(p)), 0, 0); e != 0 {
		return &os.PathError{Op: "mq_unlink", Path: "/" + name, Err: e}
	}
	return nil
}

// GetMQAttr is mq_getattr(3).
func GetMQAttr(fd int) (attr MQAttr, err error) {
	_, _, e := unix.Syscall(unix.SYS_MQ_GETSETATTR, uintptr(fd), 0, uintptr(unsafe.Pointer(&attr)))
	if e != 0 {
		return attr, os.NewSyscallError("mq_getsetattr", e)
	}
	return attr, nil
}

// ReceiveMQ is mq_receive(3) into buf. The kernel writes the priority before it returns.
func ReceiveMQ(fd int, buf []byte, prio *uint32) (int, error) {
	n, _, e := unix.Syscall6(unix.SYS_MQ_TIMEDRECEIVE, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), uintptr(unsafe.Pointer(prio)), 0, 0)
	if e != 0 {
		return 0, os.NewSyscallError("mq_receive", e)
	}
	return int(n), nil
}

// SendMQ is mq_send(3).
func SendMQ(fd int, text []byte, prio uint32) error {
	var at unsafe.Pointer
	if len(text) > 0 {
		at = unsafe.Pointer(&text[0])
	}
	_, _, e := unix.Syscall6(unix.SYS_MQ_TIMEDSEND, uintptr(fd), uintptr(at), uintptr(len(text)), uintptr(prio), 0, 0)
	if e != 0 {
		return os.NewSyscallError("mq_send", e)
	}
	return nil
}

// Word returns a 32-bit word of b, which begins where such a word may.
func Word(b []byte) *uint32 { return (*uint32)(unsafe.Pointer(&b[:4][0])) }

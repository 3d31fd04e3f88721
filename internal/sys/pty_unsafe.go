package sys

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// LockedTermiosBytes is the size of struct termios, asm-generic/termbits.h.
const LockedTermiosBytes = 36

// LockedTermios returns which settings of a terminal are locked, TIOCGLCKTRMIOS.
func LockedTermios(fd int) ([]byte, error) {
	buf := make([]byte, 64)
	if _, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGLCKTRMIOS, uintptr(unsafe.Pointer(&buf[0]))); e != 0 {
		return nil, os.NewSyscallError("TIOCGLCKTRMIOS", e)
	}
	return buf[:LockedTermiosBytes], nil
}

// SetLockedTermios locks settings of a terminal, which takes CAP_SYS_ADMIN.
func SetLockedTermios(fd int, locked []byte) error {
	buf := make([]byte, 64)
	copy(buf, locked)
	if _, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSLCKTRMIOS, uintptr(unsafe.Pointer(&buf[0]))); e != 0 {
		return os.NewSyscallError("TIOCSLCKTRMIOS", e)
	}
	return nil
}

package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// KnowsAdvice reports whether the kernel knows an advice of madvise(2), by giving
// it for a range of no bytes: the advice is checked first.
func KnowsAdvice(advice int) bool {
	_, _, e := unix.RawSyscall(unix.SYS_MADVISE, 0, 0, uintptr(advice))
	return e != unix.EINVAL
}

// SysMseal is the number of mseal(2), on all architectures.
const SysMseal = 462

// Mseal is mseal(2).
func Mseal(addr, length uintptr) error {
	_, _, e := unix.RawSyscall(SysMseal, addr, length, 0)
	if e != 0 {
		return os.NewSyscallError("mseal", e)
	}
	return nil
}

// KnowsMapping reports whether the kernel knows a flag of mmap(2) that says what
// kind of mapping it is to be, beside MAP_PRIVATE and MAP_SHARED.
func KnowsMapping(flag int) bool {
	size := uintptr(os.Getpagesize())
	addr, _, e := unix.RawSyscall6(unix.SYS_MMAP, 0, size, unix.PROT_READ, uintptr(flag|unix.MAP_ANONYMOUS), ^uintptr(0), 0)
	if e != 0 {
		return false
	}
	_, _, _ = unix.RawSyscall(unix.SYS_MUNMAP, addr, size, 0)
	return true
}

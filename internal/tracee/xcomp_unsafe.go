//go:build amd64

package tracee

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// xcompSupported is ARCH_GET_XCOMP_SUPP of arch_prctl(2).
func xcompSupported() (features uint64, err error) {
	_, _, e := unix.RawSyscall(unix.SYS_ARCH_PRCTL, archGetXCompSupp, uintptr(unsafe.Pointer(&features)), 0)
	if e != 0 {
		return 0, e
	}
	return features, nil
}

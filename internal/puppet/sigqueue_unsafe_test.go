//go:build amd64

package puppet

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// rtSigqueueinfo is rt_sigqueueinfo(2).
func rtSigqueueinfo(pid int, sig unix.Signal, info []byte) error {
	_, _, e := unix.RawSyscall(unix.SYS_RT_SIGQUEUEINFO, uintptr(pid), uintptr(sig), uintptr(unsafe.Pointer(&info[0])))
	if e != 0 {
		return e
	}
	return nil
}

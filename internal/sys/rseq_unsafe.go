package sys

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TakesRseq reports whether this kernel registers an area of size bytes for rseq(2) at an address
// like addr. It is tried with a thread of our own: the Go runtime registers none.
func TakesRseq(addr uint64, size uint32) (bool, error) {
	const page, unregister, signature = 4096, 1, 0x53053053
	if size > page {
		return false, nil
	}
	area, err := unix.Mmap(-1, 0, 2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return false, err
	}
	defer unix.Munmap(area)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	at := uintptr(unsafe.Pointer(&area[addr%page]))
	if _, _, e := unix.RawSyscall6(unix.SYS_RSEQ, at, uintptr(size), 0, signature, 0, 0); e != 0 {
		return false, nil
	}
	_, _, e := unix.RawSyscall6(unix.SYS_RSEQ, at, uintptr(size), unregister, signature, 0, 0)
	if e != 0 {
		return false, e
	}
	return true, nil
}

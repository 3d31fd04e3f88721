package proc

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// procmapQueryArg is struct procmap_query of include/uapi/linux/fs.h.
type procmapQueryArg struct {
	size          uint64
	flags         uint64
	addr          uint64
	_             [6]uint64 // out: about the mapping
	_             [2]uint32 // out: its device
	nameSize      uint32
	buildIDSize   uint32 // in: of the buffer; out: of what is in it, 0 for none
	nameAddr      uint64
	buildIDBuffer uint64
}

const (
	procmapQueryBytes = 104

	_ = uint(unsafe.Sizeof(procmapQueryArg{}) - procmapQueryBytes)
	_ = uint(procmapQueryBytes - unsafe.Sizeof(procmapQueryArg{}))

	// procmapQuery is PROCMAP_QUERY, _IOWR('f', 17, struct procmap_query).
	procmapQuery = 3<<30 | procmapQueryBytes<<16 | 'f'<<8 | 17

	maxKernelBuildID = 64 // more than the 20 bytes that the kernel gives at most
)

// BuildID returns the NT_GNU_BUILD_ID of the file that is mapped at an address of a
// process, nil if the kernel finds none: it reads the file without opening it.
// Kernels before 6.11 can't, which is errors.ErrUnsupported.
func BuildID(pid int, addr uint64) ([]byte, error) {
	f, err := os.Open(Path(pid, "maps"))
	if err != nil {
		return nil, ofPid(pid, err)
	}
	defer f.Close()
	id := make([]byte, maxKernelBuildID)
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&id[0])
	arg := procmapQueryArg{size: procmapQueryBytes, addr: addr, buildIDSize: maxKernelBuildID,
		buildIDBuffer: uint64(uintptr(unsafe.Pointer(&id[0])))}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), procmapQuery, uintptr(unsafe.Pointer(&arg)))
	switch {
	case errno == unix.ENOTTY:
		return nil, errors.ErrUnsupported
	case errno != 0:
		return nil, ofPid(pid, fmt.Errorf("build-id of what is mapped at %x: %w", addr, errno))
	case arg.buildIDSize == 0 || arg.buildIDSize > maxKernelBuildID:
		return nil, nil
	}
	return id[:arg.buildIDSize], nil
}

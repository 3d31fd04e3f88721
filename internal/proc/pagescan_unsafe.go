package proc

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Page categories, PAGE_IS_* of include/uapi/linux/fs.h. GUARD came later than
// the others; a kernel that doesn't know one answers EINVAL.
const (
	pageIsFile    = 1 << 2 // present and not anonymous
	pageIsPresent = 1 << 3
	pageIsSwapped = 1 << 4 // any entry of a page not present, markers too
	pageIsPFNZero = 1 << 5
	pageIsGuard   = 1 << 8
)

// pmScanArg is struct pm_scan_arg of include/uapi/linux/fs.h.
type pmScanArg struct {
	size              uint64
	flags             uint64
	start, end        uint64
	walkEnd           uint64 // out: where the walk stopped
	vec, vecLen       uint64
	maxPages          uint64
	categoryInverted  uint64
	categoryMask      uint64
	categoryAnyofMask uint64
	returnMask        uint64
}

// pageRegion is struct page_region of include/uapi/linux/fs.h.
type pageRegion struct {
	start, end, categories uint64
}

// Sizes as in include/uapi/linux/fs.h: one of each pair would be negative.
const (
	pmScanArgBytes  = 96
	pageRegionBytes = 24

	_ = uint(unsafe.Sizeof(pmScanArg{}) - pmScanArgBytes)
	_ = uint(pmScanArgBytes - unsafe.Sizeof(pmScanArg{}))
	_ = uint(unsafe.Sizeof(pageRegion{}) - pageRegionBytes)
	_ = uint(pageRegionBytes - unsafe.Sizeof(pageRegion{}))
)

// pagemapScan is PAGEMAP_SCAN, _IOWR('f', 16, struct pm_scan_arg) in the
// encoding of asm-generic/ioctl.h.
const pagemapScan = 3<<30 | pmScanArgBytes<<16 | 'f'<<8 | 16

// ioctlPagemapScan fills regions and returns how many; arg.walkEnd is where it
// stopped, because of the range's end or because regions is full.
func ioctlPagemapScan(pagemap *os.File, arg *pmScanArg, regions []pageRegion) (int, error) {
	conn, err := pagemap.SyscallConn()
	if err != nil {
		return 0, err
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&regions[0])
	arg.size = pmScanArgBytes
	arg.vec = uint64(uintptr(unsafe.Pointer(&regions[0])))
	arg.vecLen = uint64(len(regions))
	var n uintptr
	var errno unix.Errno
	err = conn.Control(func(fd uintptr) {
		n, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, pagemapScan, uintptr(unsafe.Pointer(arg)))
	})
	switch {
	case err != nil:
		return 0, err
	case errno != 0:
		return 0, errno
	case n > uintptr(len(regions)):
		return 0, unix.EOVERFLOW
	}
	return int(n), nil
}

// addressOf returns where a mapping of this process lies.
func addressOf(mem []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&mem[0]))) }

package sys

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of uapi linux/io_uring.h.
const (
	UringCQSize    = 1 << 3  // IORING_SETUP_CQSIZE
	UringSubmitAll = 1 << 7  // IORING_SETUP_SUBMIT_ALL
	UringNoSQArray = 1 << 16 // IORING_SETUP_NO_SQARRAY

	UringOffRings = 0          // IORING_OFF_SQ_RING
	UringOffCQ    = 0x8000000  // IORING_OFF_CQ_RING
	UringOffSQEs  = 0x10000000 // IORING_OFF_SQES

	UringSQEBytes = 64 // struct io_uring_sqe
	UringCQEBytes = 16 // struct io_uring_cqe

	UringRegisterEventFD    = 4  // IORING_REGISTER_EVENTFD
	UringRegisterBufsStatus = 26 // IORING_REGISTER_PBUF_STATUS
)

// UringParams is struct io_uring_params.
type UringParams struct {
	SQEntries, CQEntries, Flags uint32
	SQThreadCPU, SQThreadIdle   uint32
	Features, WQFD              uint32
	_                           [3]uint32
	SQ                          UringOffsets // struct io_sqring_offsets
	CQ                          UringOffsets // struct io_cqring_offsets
}

// UringOffsets says where in the memory of a ring its fields are. Fields is flags,
// dropped and array of the submission queue; overflow, cqes and flags of the other.
type UringOffsets struct {
	Head, Tail, Mask, Entries uint32
	Fields                    [3]uint32
	_                         uint32
	_                         uint64
}

var _ [120]byte = [unsafe.Sizeof(UringParams{})]byte{}

// UringSetup makes an io_uring, see io_uring_setup(2).
func UringSetup(entries uint32, p *UringParams) (fd int, err error) {
	n, _, e := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(p)), 0)
	if e != 0 {
		return -1, os.NewSyscallError("io_uring_setup", e)
	}
	return int(n), nil
}

// UringEnter submits requests, see io_uring_enter(2).
func UringEnter(fd int, submit uint32) (taken int, err error) {
	n, _, e := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), 0, 0, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// UringRegister is io_uring_register(2). arg may be nil.
func UringRegister(fd, op int, arg []byte, n int) error {
	var at unsafe.Pointer
	if len(arg) > 0 {
		at = unsafe.Pointer(&arg[0])
	}
	if _, _, e := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(fd), uintptr(op), uintptr(at), uintptr(n), 0, 0); e != 0 {
		return e
	}
	return nil
}

// CopyMapped copies from a mapping of ours as far as that can be read: behind the end of
// what is mapped it can't. A transfer ends between two pages, which are named one by one
// for that, see process_vm_readv(2).
func CopyMapped(to, from []byte) (copied int, err error) {
	const together = 512 // less than IOV_MAX
	page := os.Getpagesize()
	for copied < len(from) {
		part := from[copied:min(copied+together*page, len(from))]
		var pages []unix.RemoteIovec
		for at := 0; at < len(part); at += page {
			pages = append(pages, unix.RemoteIovec{Base: uintptr(unsafe.Pointer(&part[at])), Len: min(page, len(part)-at)})
		}
		local := unix.Iovec{Base: &to[copied]}
		local.SetLen(len(part))
		n, err := unix.ProcessVMReadv(os.Getpid(), []unix.Iovec{local}, pages, 0)
		if err == unix.EFAULT {
			return copied, nil
		}
		if err != nil {
			return copied, os.NewSyscallError("process_vm_readv", err)
		}
		if copied += n; n < len(part) {
			return copied, nil
		}
	}
	return copied, nil
}

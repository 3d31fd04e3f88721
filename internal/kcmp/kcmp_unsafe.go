package kcmp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// struct kcmp_epoll_slot of include/uapi/linux/kcmp.h has three __u32.
var _ [12]byte = [unsafe.Sizeof(EpollSlot{})]byte{}

func kcmp(pid1, pid2 int, typ Type, idx1, idx2 uintptr) (Ordering, unix.Errno) {
	// Not RawSyscall: kcmp takes both tasks' exec_update_lock and may sleep.
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(pid1), uintptr(pid2), uintptr(typ), idx1, idx2, 0)
	return Ordering(r), errno
}

func compareEpoll(a Handle, epollPid int, slot *EpollSlot) (Ordering, unix.Errno) {
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a.PID), uintptr(epollPid), uintptr(EpollTFD),
		uintptr(a.Idx), uintptr(unsafe.Pointer(slot)), 0)
	return Ordering(r), errno
}

// Package sys has the few system calls that golang.org/x/sys/unix has no function
// for.
package sys

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// GetRobustList returns where the list head of a thread's robust futexes is and
// the head's length in bytes, see get_robust_list(2).
func GetRobustList(tid int) (head, length uint64, err error) {
	_, _, e := unix.RawSyscall(unix.SYS_GET_ROBUST_LIST, uintptr(tid), uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&length)))
	if e != 0 {
		return 0, 0, os.NewSyscallError("get_robust_list", e)
	}
	return head, length, nil
}

const ioprioWhoProcess = 1

// IOPrio returns a thread's I/O class and priority, see ioprio_get(2).
func IOPrio(tid int) (uint32, error) {
	n, _, e := unix.RawSyscall(unix.SYS_IOPRIO_GET, ioprioWhoProcess, uintptr(tid), 0)
	if e != 0 {
		return 0, os.NewSyscallError("ioprio_get", e)
	}
	return uint32(n), nil
}

// SetIOPrio sets a thread's I/O class and priority.
func SetIOPrio(tid int, prio uint32) error {
	_, _, e := unix.RawSyscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, uintptr(tid), uintptr(prio))
	if e != 0 {
		return os.NewSyscallError("ioprio_set", e)
	}
	return nil
}

// OwnerEx is struct f_owner_ex of F_GETOWN_EX, see fcntl(2).
type OwnerEx struct{ Type, PID int32 }

var _ [8]byte = [unsafe.Sizeof(OwnerEx{})]byte{}

const (
	fSetOwnEx = 15
	fGetOwnEx = 16
)

// SetOwnEx sets the owner of a descriptor, who gets its signals.
func SetOwnEx(fd int, o OwnerEx) error {
	_, _, e := unix.RawSyscall(unix.SYS_FCNTL, uintptr(fd), fSetOwnEx, uintptr(unsafe.Pointer(&o)))
	if e != 0 {
		return os.NewSyscallError("fcntl", e)
	}
	return nil
}

// GetOwnEx returns the owner of a descriptor, who gets its signals.
func GetOwnEx(fd int) (o OwnerEx, err error) {
	_, _, e := unix.RawSyscall(unix.SYS_FCNTL, uintptr(fd), fGetOwnEx, uintptr(unsafe.Pointer(&o)))
	if e != 0 {
		return o, os.NewSyscallError("fcntl", e)
	}
	return o, nil
}

const fGetOwnerUIDs = 17

// OwnerUIDs returns the real and effective user id of the process that set a
// descriptor's owner (F_GETOWNER_UIDS).
func OwnerUIDs(fd int) (ids [2]uint32, err error) {
	_, _, e := unix.RawSyscall(unix.SYS_FCNTL, uintptr(fd), fGetOwnerUIDs, uintptr(unsafe.Pointer(&ids)))
	if e != 0 {
		return ids, os.NewSyscallError("fcntl", e)
	}
	return ids, nil
}

const soPeerGroups = 59 // of asm-generic/socket.h

// PeerGroups returns the groups of the process that made a pair of unix sockets.
func PeerGroups(fd int) ([]uint32, error) {
	var few [32]uint32 // NGROUPS_MAX are 256 KiB, for each of many sockets
	groups, err := peerGroups(fd, few[:])
	if errors.Is(err, unix.ERANGE) {
		groups, err = peerGroups(fd, make([]uint32, 65536)) // NGROUPS_MAX
	}
	return slices.Clone(groups), err
}

func peerGroups(fd int, groups []uint32) ([]uint32, error) {
	n := uint32(4 * len(groups))
	_, _, e := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, soPeerGroups,
		uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&n)), 0)
	if e != 0 {
		return nil, os.NewSyscallError("getsockopt", e)
	}
	return groups[:n/4], nil
}

// From uapi linux/fcntl.h.
const (
	fGetRWHint = 1035
	fSetRWHint = 1036
)

// RWHint is fcntl(2) with F_GET_RW_HINT: how long a file's data is expected to
// live.
func RWHint(fd int) (hint uint64, err error) {
	_, _, e := unix.RawSyscall(unix.SYS_FCNTL, uintptr(fd), fGetRWHint, uintptr(unsafe.Pointer(&hint)))
	if e != 0 {
		return 0, os.NewSyscallError("fcntl", e)
	}
	return hint, nil
}

// SetRWHint is RWHint's inverse.
func SetRWHint(fd int, hint uint64) error {
	_, _, e := unix.RawSyscall(unix.SYS_FCNTL, uintptr(fd), fSetRWHint, uintptr(unsafe.Pointer(&hint)))
	if e != 0 {
		return os.NewSyscallError("fcntl", e)
	}
	return nil
}

// Tee copies up to n bytes from one pipe to another without taking them, see
// tee(2).
func Tee(from, to, n int) (int, error) {
	k, err := unix.Tee(from, to, n, unix.SPLICE_F_NONBLOCK)
	return int(k), os.NewSyscallError("tee", err)
}

// MapShared makes a shared anonymous mapping, with more MAP_ flags, and returns
// its address, for /proc/self/map_files to reach.
func MapShared(size uint64, flags int) (addr uintptr, err error) {
	addr, _, e := unix.Syscall6(unix.SYS_MMAP, 0, uintptr(size), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE|uintptr(flags), ^uintptr(0), 0)
	if e != 0 {
		return 0, os.NewSyscallError("mmap", e)
	}
	return addr, nil
}

// OpenShm opens the inode of a System V shared memory segment, without staying
// attached to it.
func OpenShm(id int, size uint64) (*os.File, error) {
	addr, _, e := unix.Syscall(unix.SYS_SHMAT, uintptr(id), 0, 0)
	if e != 0 {
		return nil, os.NewSyscallError("shmat", e)
	}
	page := uint64(os.Getpagesize())
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/map_files/%x-%x", addr, uint64(addr)+(size+page-1)&^(page-1)), os.O_RDWR, 0)
	if _, _, e := unix.Syscall(unix.SYS_SHMDT, addr, 0, 0); e != 0 {
		err = errors.Join(err, os.NewSyscallError("shmdt", e))
	}
	return f, err
}

// Unmap undoes MapShared.
func Unmap(addr uintptr, size uint64) error {
	_, _, e := unix.Syscall(unix.SYS_MUNMAP, addr, uintptr(size), 0)
	if e != 0 {
		return os.NewSyscallError("munmap", e)
	}
	return nil
}

// Termios2Bytes is the size of struct termios2 without padding, asm-generic/termbits.h.
const Termios2Bytes = 44

// GetTermios reads struct termios2 and the window size of a terminal.
func GetTermios(fd int) (termios []byte, rows, cols uint16, err error) {
	termios = make([]byte, 64)
	if _, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.TCGETS2, uintptr(unsafe.Pointer(&termios[0]))); e != 0 {
		return nil, 0, 0, os.NewSyscallError("TCGETS2", e)
	}
	ws, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return nil, 0, 0, os.NewSyscallError("TIOCGWINSZ", err)
	}
	return termios[:Termios2Bytes], ws.Row, ws.Col, nil
}

// SetTermios sets struct termios2 of a terminal.
func SetTermios(fd int, termios []byte) error {
	buf := make([]byte, 64)
	copy(buf, termios)
	if _, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.TCSETS2, uintptr(unsafe.Pointer(&buf[0]))); e != 0 {
		return os.NewSyscallError("TCSETS2", e)
	}
	return nil
}

// WithSignalBlocked calls f with the signal blocked in its thread.
func WithSignalBlocked(sig unix.Signal, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var set, old unix.Sigset_t
	set.Val[0] = 1 << (uint(sig) - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old); err != nil {
		return os.NewSyscallError("sigprocmask", err)
	}
	err := f()
	if e := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil); err == nil {
		err = os.NewSyscallError("sigprocmask", e)
	}
	return err
}

// CPU returns the number of the CPU this thread runs on, see getcpu(2).
func CPU() (int, error) {
	var cpu uint32
	_, _, e := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0)
	if e != 0 {
		return 0, os.NewSyscallError("getcpu", e)
	}
	return int(cpu), nil
}

// tfdIocSetTicks is TFD_IOC_SET_TICKS of linux/timerfd.h.
const tfdIocSetTicks = 0x40085400

// SetTimerTicks sets the expirations of a timerfd that nobody has read, not 0. It takes
// CONFIG_CHECKPOINT_RESTORE.
func SetTimerTicks(fd int, ticks uint64) error {
	_, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), tfdIocSetTicks, uintptr(unsafe.Pointer(&ticks)))
	if e != 0 {
		return e
	}
	return nil
}

// pidfdInfo is struct pidfd_info of linux/pidfd.h as it began; pidfdGetInfo is
// PIDFD_GET_INFO, which has its size.
type pidfdInfo struct {
	mask, cgroup uint64
	ids          [11]uint32
	exitCode     int32
}

const (
	pidfdGetInfo  = 3<<30 | unsafe.Sizeof(pidfdInfo{})<<16 | 0xff<<8 | 11
	pidfdInfoExit = 1 << 3
)

var _ [64]byte = [unsafe.Sizeof(pidfdInfo{})]byte{}

// EndedStatus returns with which status, as from wait(2), the process behind a pidfd has
// ended that was waited for; 0 if that is not known, as before Linux 6.15.
func EndedStatus(pidfd int) int {
	info := pidfdInfo{mask: pidfdInfoExit}
	_, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(pidfd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
	if e != 0 || info.mask&pidfdInfoExit == 0 {
		return 0
	}
	return int(info.exitCode)
}

package sys

import (
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cloneArgs is struct clone_args of uapi linux/sched.h, version 2.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize uint64
}

var _ [80]byte = [unsafe.Sizeof(cloneArgs{})]byte{}

// MayChooseIDs asks the kernel whether this process may choose the ids of processes
// it makes: asked for this process's own id, it answers that the id is taken only if
// it may.
var MayChooseIDs = sync.OnceValue(mayChooseIDs)

func mayChooseIDs() bool {
	id := int32(os.Getpid())
	args := cloneArgs{setTID: uint64(uintptr(unsafe.Pointer(&id))), setTIDSize: 1}
	// Asked for a thread, the kernel need not copy our memory first. It makes none: a thread
	// is born where we are, and there the id is taken.
	args.flags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD
	_, _, e := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
	if e != unix.EINVAL {
		return e != unix.EPERM
	}
	args.flags = 0 // children are born in another pid namespace, see unshare(2)
	pid, _, e := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
	switch {
	case e != 0:
		return e != unix.EPERM
	case pid == 0: // born in another pid namespace, where the id is free
		for {
			_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	_, _ = unix.Wait4(int(pid), nil, unix.WALL, nil)
	return true
}

// MayHaveUserNamespace asks the kernel whether this process may make a user namespace, and
// a pid namespace that belongs to it.
func MayHaveUserNamespace() bool {
	args := cloneArgs{flags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	pid, _, e := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
	switch {
	case e != 0:
		return false
	case pid == 0:
		for {
			_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	_, _ = unix.Wait4(int(pid), nil, unix.WALL, nil)
	return true
}

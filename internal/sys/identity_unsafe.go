package sys

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FSIdentity is what the kernel checks the use of a path against, see
// path_resolution(7).
type FSIdentity struct {
	UID, GID uint32
	Groups   []uint32
	Caps     uint64 // effective; those this process lacks are left out
}

// AsFS calls f in a thread of its own that has this identity and then ends.
func AsFS(id *FSIdentity, f func() error) error { return apart(id.become, f) }

func (id *FSIdentity) become() error {
	err := setGroups(id.Groups)
	if err == nil {
		err = setFS(unix.SYS_SETFSGID, id.GID, "file system group")
	}
	if err == nil {
		err = setFS(unix.SYS_SETFSUID, id.UID, "file system user")
	}
	if err == nil {
		err = boundCaps(id.Caps)
	}
	return err
}

// Within calls f in a thread of its own that has this identity, if not nil, no umask and
// a folder as its working folder; if confined, as its root, too, which takes
// CAP_SYS_CHROOT.
func Within(folder int, confined bool, id *FSIdentity, f func() error) error {
	return apart(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		unix.Umask(0)
		if err := unix.Fchdir(folder); err != nil {
			return os.NewSyscallError("fchdir", err)
		}
		if confined {
			if err := unix.Chroot("."); err != nil {
				return os.NewSyscallError("chroot", err)
			}
		}
		if id == nil {
			return nil
		}
		return id.become()
	}, f)
}

// AsUser calls f in a thread of its own that has these real and effective ids and
// then ends. With nil groups it keeps this process's.
func AsUser(uid, euid, gid, egid uint32, groups []uint32, f func() error) error {
	return apart(func() error {
		if groups != nil {
			if err := setGroups(groups); err != nil {
				return err
			}
		}
		if err := setIDs(unix.SYS_SETRESGID, gid, egid, unix.Getgid(), unix.Getegid()); err != nil {
			return fmt.Errorf("become group %d: %w", egid, err)
		}
		if err := setIDs(unix.SYS_SETRESUID, uid, euid, unix.Getuid(), unix.Geteuid()); err != nil {
			return fmt.Errorf("become user %d: %w", euid, err)
		}
		return nil
	}, f)
}

// apart runs become and f in a thread that ends with them: become makes raw calls,
// which change this one thread only. A change of identity makes the kernel hide the
// process from its own user, which is undone. It is never the program's first thread,
// which does not end with a goroutine, and whose identity is the process's for others.
func apart(become, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			done <- apart(become, f) // in another thread, for this one is taken
			runtime.UnlockOSThread()
			return
		}
		dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		if err == nil {
			err = become()
		}
		if err == nil && dumpable == 1 {
			err = os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0))
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func setGroups(groups []uint32) error {
	have, err := Groups()
	if err != nil || SameGroups(groups, have) {
		return err
	}
	var p unsafe.Pointer
	if len(groups) > 0 {
		p = unsafe.Pointer(&groups[0])
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(p), 0); e != 0 {
		return os.NewSyscallError("setgroups", e)
	}
	return nil
}

// setFS makes a setfs*id(2) call, which returns the id before; the second call, with
// an invalid id, changes nothing and tells whether the first one worked.
func setFS(nr uintptr, id uint32, what string) error {
	_, _, _ = unix.RawSyscall(nr, uintptr(id), 0, 0)
	if now, _, _ := unix.RawSyscall(nr, uintptr(^uint32(0)), 0, 0); uint32(now) != id {
		return fmt.Errorf("take %s %d: %w", what, id, unix.EPERM)
	}
	return nil
}

func setIDs(nr uintptr, id, eid uint32, nowID, nowEID int) error {
	if int(id) == nowID && int(eid) == nowEID {
		return nil
	}
	if _, _, e := unix.RawSyscall(nr, uintptr(id), uintptr(eid), uintptr(^uint32(0))); e != 0 {
		return e
	}
	return nil
}

// boundCaps makes effective those of caps that the thread is permitted.
func boundCaps(caps uint64) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	data[0].Effective, data[1].Effective = data[0].Permitted&uint32(caps), data[1].Permitted&uint32(caps>>32)
	return os.NewSyscallError("capset", unix.Capset(&hdr, &data[0]))
}

package mounts

import (
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// makeYard makes the namespace from which all others are copied. The calling thread enters it.
func (r *Restorer) makeYard() error {
	self, err := os.OpenFile("/proc/thread-self", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer self.Close()
	if err := copyHost(); err != nil {
		return err
	}
	yard, err := newFS("tmpfs", "ckpt", []string{"mode=0755"}, nil)
	if err != nil {
		return err
	}
	defer yard.Close()
	for _, name := range []string{yardHost, yardFS, yardNew} {
		if err := unix.Mkdirat(int(yard.Fd()), name[1:], 0o755); err != nil {
			return os.NewSyscallError("mkdirat", err)
		}
	}
	if err := enterYard(self, yard); err != nil {
		return err
	}
	for i, f := range r.order {
		if f.base == nil {
			continue
		}
		p := f.yardPath(i)
		if err := unix.Mkdir(p, 0o755); err != nil {
			return &os.PathError{Op: "mkdir", Path: p, Err: err}
		}
		if err := unix.MoveMount(int(f.base.Fd()), "", unix.AT_FDCWD, p, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return os.NewSyscallError("move_mount", err)
		}
	}
	r.yard, err = namespaceOf(self)
	return err
}

// copyHost gives the calling thread a copy of the namespace it is in, which gets what is
// mounted there and gives nothing.
func copyHost() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &unix.MountAttr{Propagation: unix.MS_SLAVE})
	return os.NewSyscallError("mount_setattr", err)
}

func (f *fileSystem) yardPath(i int) string {
	f.place = path.Join(yardFS, strconv.Itoa(i))
	return f.place
}

// enterYard makes the yard the root of this thread's namespace, with all else below it. Where
// the root has no mount below itself, as on an initial RAM disk, it can't be moved, and
// is bound instead.
func enterYard(self, yard *os.File) error {
	if err := unix.MoveMount(int(yard.Fd()), "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return os.NewSyscallError("move_mount", err)
	}
	if err := unix.Fchdir(int(yard.Fd())); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	err := unix.PivotRoot(".", yardHost[1:])
	if err == unix.EINVAL {
		return bindHost(self, yard)
	}
	return os.NewSyscallError("pivot_root", err)
}

// bindHost puts a copy of all that is mounted below the yard, and takes off what is left
// outside of it.
func bindHost(self, yard *os.File) error {
	host, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(host)
	all, err := readMounts(self)
	if err != nil {
		return err
	}
	var own unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, "/", 0, unix.STATX_MNT_ID, &own); err != nil {
		return os.NewSyscallError("statx", err)
	}
	for i := range all {
		if all[i].Parent == int(own.Mnt_id) && all[i].Point != "/" {
			if err := unix.Unmount(all[i].Point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
				return &os.PathError{Op: "unmount", Path: all[i].Point, Err: err}
			}
		}
	}
	if err := unix.MoveMount(host, "", int(yard.Fd()), yardHost[1:], unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return os.NewSyscallError("move_mount", err)
	}
	return os.NewSyscallError("chroot", unix.Chroot("."))
}

// namespaceOf opens the mount namespace of a thread.
func namespaceOf(self *os.File) (*os.File, error) {
	fd, err := unix.Openat(int(self.Fd()), "ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "ns/mnt", Err: err}
	}
	return os.NewFile(uintptr(fd), "mount namespace"), nil
}

package proc

import (
	"os"

	"golang.org/x/sys/unix"
)

// InNamespace reports whether a process is in the pid or user namespace with an inode number,
// or in one below that.
func InNamespace(pid int, kind string, inode uint64) (bool, error) {
	fd, err := unix.Open(Path(pid, "ns/"+kind), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, ofPid(pid, os.NewSyscallError("open", err))
	}
	for {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Ino == inode {
			unix.Close(fd)
			return err == nil, os.NewSyscallError("fstat", err)
		}
		parent, err := unix.IoctlRetInt(fd, unix.NS_GET_PARENT)
		unix.Close(fd)
		if err == unix.EPERM { // there is none, or not below ours
			return false, nil
		}
		if err != nil {
			return false, ofPid(pid, os.NewSyscallError("ioctl", err))
		}
		fd = parent
	}
}

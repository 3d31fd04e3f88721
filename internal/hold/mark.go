package hold

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// markName is the name of the memfd that says that a pipe is the hold of a
// checkpoint.
func markName(ino uint64, checkpoint string) string {
	return fmt.Sprintf("ckpt-hold:[%d]:%s", ino, checkpoint)
}

// newMark makes the memfd for a pipe.
func newMark(pipe int, checkpoint string) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(pipe, &st); err != nil {
		return -1, os.NewSyscallError("fstat", err)
	}
	return memfd(markName(st.Ino, checkpoint))
}

func memfd(name string) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	return fd, os.NewSyscallError("memfd_create", err)
}

// open opens the pipe of a hold for writing. A stream may name any descriptor of
// any process, and we may be root: nothing is opened, and no file system asked,
// until everything that can be checked without that says that a collector made it.
func open(ref *Ref) (*os.File, error) {
	path := fmt.Sprintf("/proc/%d/fd/%d", ref.PID, ref.FD)
	link, err := proc.FDLink(ref.PID, ref.FD)
	if err != nil {
		return nil, err
	}
	var ino uint64
	if _, err := fmt.Sscanf(link, "pipe:[%d]", &ino); err != nil || link != fmt.Sprintf("pipe:[%d]", ino) || !marked(ref, ino) {
		return nil, ErrGone
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	status, err := proc.ReadStatus(ref.PID)
	if err != nil {
		return nil, err
	}
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO || st.Ino != ino || st.Uid != status.Uid[3] {
		return nil, ErrGone // the pipe must be the collector's own
	}
	// Opened is what was checked.
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_WRONLY|unix.O_NONBLOCK, 0)
}

// marked reports whether the process has the memfd for this pipe.
func marked(ref *Ref, ino uint64) bool {
	link, err := proc.FDLink(ref.PID, ref.Mark)
	if err != nil || link != "/memfd:"+markName(ino, ref.Checkpoint)+" (deleted)" {
		return false
	}
	// A file can have such a path, too, but is not on the file system of memfds.
	own, err := memfd("ckpt")
	if err != nil {
		return false
	}
	defer unix.Close(own)
	var st unix.Stat_t
	var its unix.Statx_t
	if unix.Fstat(own, &st) != nil ||
		unix.Statx(unix.AT_FDCWD, fmt.Sprintf("/proc/%d/fd/%d", ref.PID, ref.Mark), unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &its) != nil {
		return false
	}
	return unix.Mkdev(its.Dev_major, its.Dev_minor) == st.Dev
}

package proc

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// View is one procfs. The process ids in it, in its names as in its texts, are those of the
// pid namespace that it was mounted for.
type View struct{ root string }

// Usual is what is mounted on /proc.
var Usual = View{"/proc"}

// here is where the functions of this package look for processes.
var here = Usual

// Apart reports whether the functions of this package look elsewhere than in Usual.
func Apart() bool { return here != Usual }

// UseOwn makes the functions of this package look in a procfs for the pid namespace of this
// process, which need not be that of /proc. It is mounted nowhere, and ends with the
// process. It must be called before any other thread uses the package.
func UseOwn() error {
	fs, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return os.NewSyscallError("fsconfig", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return os.NewSyscallError("fsmount", err)
	}
	here = View{fmt.Sprintf("/proc/self/fd/%d", fd)}
	return nil
}

// Path returns the path of a file of a process.
func Path(pid int, name string) string { return here.Path(pid, name) }

// ThreadPath returns the path of a file of a thread.
func ThreadPath(pid, tid int, name string) string { return here.threadPath(pid, tid, name) }

func (v View) threadPath(pid, tid int, name string) string {
	return v.Path(pid, "task/"+strconv.Itoa(tid)+"/"+name)
}

// Path returns the path of a file of a process.
func (v View) Path(pid int, name string) string {
	return v.root + "/" + strconv.Itoa(pid) + "/" + name
}

// Self returns the ids of this process, and of the calling thread, in the view's pid
// namespace.
func (v View) Self() (pid, tid int, err error) {
	link, err := os.Readlink(v.root + "/thread-self")
	if err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Sscanf(link, "%d/task/%d", &pid, &tid); err != nil {
		return 0, 0, malformed("thread-self", []byte(link))
	}
	return pid, tid, nil
}

// Of returns the id that the process of a pidfd of ours has in the view's pid namespace, 0
// for none and -1 if it has ended.
func (v View) Of(pidfd int) (int, error) {
	info, err := readParsed(pidfd, v.root+"/self/fdinfo/"+strconv.Itoa(pidfd), ParseFDInfo)
	if err != nil {
		return 0, err
	}
	return info.PidFD()
}

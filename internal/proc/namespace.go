package proc

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// namespaceKinds are the names in /proc/PID/ns.
var namespaceKinds = [...]string{"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"}

// Namespaces returns the inode numbers of a thread's namespaces by the names of
// /proc/PID/ns: cgroup, ipc, mnt, net, pid, pid_for_children, time,
// time_for_children, user, uts (namespaces(7)). Those that the thread does not
// have are missing: for a zombie all but user and pid, and pid_for_children after
// unshare(2) until the first child.
func Namespaces(pid, tid int) (map[string]uint64, error) {
	return readNamespaces(pid, tid, namespaceKinds[:])
}

// ThreadNamespaces is Namespaces for another thread of a process, given those of its
// first. The user, pid and time namespace of all threads are the same: the kernel lets
// only a process with one thread enter another (check_unshare_flags of kernel/fork.c,
// userns_install, timens_install), and pid namespaces are not entered at all.
func ThreadNamespaces(pid, tid int, first map[string]uint64) (map[string]uint64, error) {
	all, err := readNamespaces(pid, tid, []string{"cgroup", "ipc", "mnt", "net", "pid_for_children", "time_for_children", "uts"})
	for _, kind := range []string{"pid", "time", "user"} {
		if inode, ok := first[kind]; ok && err == nil {
			all[kind] = inode
		}
	}
	return all, err
}

// readNamespaces reads some of them by way of their folder, to which the walk is long.
func readNamespaces(pid, tid int, kinds []string) (map[string]uint64, error) {
	dir, err := unix.Open(ThreadPath(pid, tid, "ns"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, ofPid(tid, os.NewSyscallError("open", err))
	}
	defer unix.Close(dir)
	all := make(map[string]uint64, len(namespaceKinds))
	var text [64]byte
	for _, kind := range kinds {
		n, err := again(func() (int, error) { return unix.Readlinkat(dir, kind, text[:]) })
		if err == unix.ENOENT {
			continue
		}
		if err == nil {
			_, all[kind], err = ParseNamespace(string(text[:n]))
		}
		if err != nil {
			return nil, ofPid(tid, err)
		}
	}
	if len(all) == 0 {
		return nil, ofPid(tid, fs.ErrNotExist)
	}
	return all, nil
}

// Namespace returns the inode number of one namespace of a thread, by its name in
// /proc/PID/ns.
func Namespace(pid, tid int, kind string) (uint64, error) {
	text, err := os.Readlink(ThreadPath(pid, tid, "ns/"+kind))
	if err != nil {
		return 0, ofPid(tid, err)
	}
	_, inode, err := ParseNamespace(text)
	if err != nil {
		return 0, ofPid(tid, err)
	}
	return inode, nil
}

// ParseNamespace parses the text of a namespace's link, such as "mnt:[4026531832]".
func ParseNamespace(text string) (kind string, inode uint64, err error) {
	kind, rest, _ := strings.Cut(text, ":[")
	digits, ok := strings.CutSuffix(rest, "]")
	inode, err = strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || kind == "" {
		return "", 0, malformed("namespace", []byte(text))
	}
	return kind, inode, nil
}

// BootID is a random UUID that stays the same from boot to shutdown (random(4)).
func BootID() (string, error) {
	b, err := readFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

// ReadSysctl reads a number of sysctl(8), by its name with slashes.
func ReadSysctl(name string) (int64, error) {
	b, err := readFile("/proc/sys/" + name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// KernelRelease is what uname -r prints, such as "6.18.44".
func KernelRelease() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", os.NewSyscallError("uname", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

// CheckKernel returns an error if this kernel lacks what tasks are held and made with.
func CheckKernel() error {
	release, err := KernelRelease()
	if err != nil {
		return err
	}
	return checkRelease(release)
}

// checkRelease takes a release such as 6.1.0-50-cloud-amd64. From the first that will do on,
// ptrace(2) tells of rseq(2).
func checkRelease(release string) error {
	const major, minor = 5, 13
	var a, b int
	if n, _ := fmt.Sscanf(release, "%d.%d", &a, &b); n == 2 && (a < major || a == major && b < minor) {
		return fmt.Errorf("this kernel (%s) is too old: it takes %d.%d or newer", release, major, minor)
	}
	return nil
}

// HasThreadIn reports whether a thread of a process is in a namespace of a kind; one that may
// not be looked at, or has ended, is not.
func (v View) HasThreadIn(pid int, kind string, ns uint64) bool {
	tids, _ := v.Threads(pid)
	return slices.ContainsFunc(tids, func(tid int) bool {
		link, err := os.Readlink(v.threadPath(pid, tid, "ns/"+kind))
		if err != nil {
			return false
		}
		_, its, err := ParseNamespace(link)
		return err == nil && its == ns
	})
}

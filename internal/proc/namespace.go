package proc

import (
	"errors"
	"io/fs"
	"os"
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
	all := make(map[string]uint64, len(namespaceKinds))
	for _, kind := range namespaceKinds {
		inode, err := Namespace(pid, tid, kind)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all[kind] = inode
	}
	if len(all) == 0 {
		return nil, ofPid(tid, fs.ErrNotExist)
	}
	return all, nil
}

// Namespace returns the inode number of one namespace of a thread, by its name in
// /proc/PID/ns.
func Namespace(pid, tid int, kind string) (uint64, error) {
	text, err := os.Readlink(threadPath(pid, tid, "ns/"+kind))
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

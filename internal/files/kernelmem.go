package files

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Files on these file systems look deleted, because no path leads to them, but
// restoring their bytes as a deleted file would not give the same object.
const (
	mqueueMagic    = 0x19800202 // MQUEUE_MAGIC of ipc/mqueue.c
	secretmemMagic = 0x5345434d // SECRETMEM_MAGIC of include/uapi/linux/magic.h
)

const secretMemory = "secret memory (memfd_secret)"

// hidden names an object that only looks like a regular file, on a file system
// that the kernel mounts for itself; "" if the subject is not one.
func hidden(s *Subject) string {
	if s.Stat.Mode&unix.S_IFMT != unix.S_IFREG || strings.LastIndex(s.Target, "/") > 0 && s.Target != sharedAnonymous || unix.Major(s.Stat.Dev) != 0 {
		return ""
	}
	name := strings.TrimSuffix(s.Target, deletedSuffix)
	var fs unix.Statfs_t
	if err := unix.Statfs(s.Link, &fs); err != nil {
		return ""
	}
	switch gone := s.Stat.Nlink == 0; {
	case fs.Type == mqueueMagic:
		return aMQueue + name
	case fs.Type == secretmemMagic:
		return secretMemory
	case fs.Type == unix.HUGETLBFS_MAGIC && gone && name == "/anon_hugepage", fs.Type == unix.TMPFS_MAGIC && gone && s.Target == sharedAnonymous:
		return "shared anonymous memory (by way of /proc/PID/map_files)"
	case (fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.HUGETLBFS_MAGIC) && strings.HasPrefix(name, "/SYSV"):
		return "System V shared memory (by way of /proc/PID/map_files)"
	}
	return ""
}

// sharedAnonymous is the kernel's name for shared anonymous memory.
const sharedAnonymous = "/dev/zero (deleted)"

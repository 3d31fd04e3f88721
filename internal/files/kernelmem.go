package files

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Files of these kinds look like deleted ones, for no path leads there; a copy of
// their bytes would be something else.
const (
	mqueueMagic    = 0x19800202 // include/uapi/linux/magic.h; this one stands in ipc/mqueue.c
	secretmemMagic = 0x5345434d
)

// hidden names a file of a file system that the kernel keeps to itself, which
// only looks like a regular file; "" is none of them.
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
		return "the POSIX message queue " + name
	case fs.Type == secretmemMagic:
		return "secret memory (memfd_secret)"
	case fs.Type == unix.HUGETLBFS_MAGIC && gone && name == "/anon_hugepage", fs.Type == unix.TMPFS_MAGIC && gone && s.Target == sharedAnonymous:
		return "shared anonymous memory (by way of /proc/PID/map_files)"
	case (fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.HUGETLBFS_MAGIC) && strings.HasPrefix(name, "/SYSV"):
		return "System V shared memory (by way of /proc/PID/map_files)"
	}
	return ""
}

// sharedAnonymous is what the kernel calls it.
const sharedAnonymous = "/dev/zero (deleted)"

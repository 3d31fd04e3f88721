package files

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/sys"
)

// On FUSE almost every call asks the server, a process that may be stopped by
// us, or never answer, and the wait can't be interrupted: stat(2) is one, and
// close(2) of a duplicate. What lies there is found out without asking.

// mounts are those of one mount namespace, by number.
type mounts map[int]string

// bdiFolder lists by device number what is written back by a server or to a disk,
// and so every FUSE file system, from its mount to its end.
const bdiFolder = "/sys/class/bdi"

// resolveCached is RESOLVE_CACHED of openat2(2): no file system is asked.
const resolveCached = 0x20

// fuseType returns the type of the FUSE file system that a subject is on, or "".
func (c *Collector) fuseType(s *Subject) (string, error) {
	table, err := c.mountsOf(s.PID)
	if err != nil {
		return "", err
	}
	if s.FD >= 0 && table[s.Info.MntID] != "" {
		return fuseName(table[s.Info.MntID]), nil
	}
	if !strings.HasPrefix(s.Target, "/") {
		return "", nil // a pipe, a socket and the like
	}
	st, err := quietStat(unix.AT_FDCWD, s.Link, 0)
	if err != nil {
		return "", err
	}
	if fstype := table[int(st.Mnt_id)]; st.Mask&unix.STATX_MNT_ID != 0 && fstype != "" {
		return fuseName(fstype), nil
	}
	return unlisted(st.Dev_major, st.Dev_minor)
}

// Served names the mappings of a process that are of FUSE: to read its memory there
// is to wait for a server. nil: there are none.
func Served(pid int) (reasons []error, err error) {
	list, err := proc.ReadMaps(pid)
	if err != nil {
		return nil, err
	}
	var types map[uint64]string // of what is mounted, by device
	judged := map[uint64]string{}
	for i := range list {
		m := &list[i]
		if m.Inode == 0 || !strings.HasPrefix(m.Path, "/") {
			continue
		}
		name, known := judged[m.Dev]
		if !known {
			if types == nil {
				if types, err = mountedTypes(pid); err != nil {
					return nil, err
				}
			}
			if name = fuseName(types[m.Dev]); types[m.Dev] == "" {
				if name, err = unlisted(unix.Major(m.Dev), unix.Minor(m.Dev)); err != nil {
					return nil, err
				}
			}
			judged[m.Dev] = name
		}
		if name != "" {
			reasons = append(reasons, &fuseError{fmt.Sprintf("memory at %x (%s)", m.Start, m.Path), name})
		}
	}
	return reasons, nil
}

// mountedTypes are the types of the file systems that a process sees mounted.
func mountedTypes(pid int) (map[uint64]string, error) {
	list, err := proc.Mounts(pid)
	if err != nil {
		return nil, err
	}
	types := make(map[uint64]string, len(list))
	for _, m := range list {
		types[m.Dev] = m.FSType
	}
	return types, nil
}

// unlisted is fuseType for what is mounted no more, or elsewhere. Of the file
// systems with such an entry and no disk a few that are not FUSE ask a server, too.
func unlisted(major, minor uint32) (string, error) {
	name := fmt.Sprintf("%s/%d:%d", bdiFolder, major, minor)
	if major != 0 {
		name += "-fuseblk"
	}
	_, err := os.Lstat(name)
	if err == nil {
		return "of a server, and not mounted any more", nil
	}
	if _, err := os.Lstat(bdiFolder); err == nil {
		return "", nil
	}
	// Without sysfs all that is known is what the kernel mounts for itself.
	own, err := sys.ShmemDev()
	if err != nil || own == unix.Mkdev(major, minor) {
		return "", err
	}
	return "or of another kind, for it is not mounted any more", nil
}

// quietStat is stat(2) that asks no server. The device and the mount are told
// always, the rest of what is wanted if it is known.
func quietStat(dir int, path string, want int) (*unix.Statx_t, error) {
	flags := unix.AT_STATX_DONT_SYNC
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	st := new(unix.Statx_t)
	if err := unix.Statx(dir, path, flags, want, st); err != nil {
		return nil, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	return st, nil
}

// leadsTo reports whether a path, without symbolic links, names the very file of
// st, which is not on FUSE. The path may have come to lead there. An error says
// that nobody knows.
func (c *Collector) leadsTo(path string, st *unix.Stat_t) (bool, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | resolveCached}
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &how)
	if err == unix.EAGAIN || err == unix.EINVAL { // before Linux 5.12
		fd, err = c.walkQuietly(path)
	}
	switch err {
	case nil:
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EAGAIN: // what was on the way is gone, or another thing now
		return false, nil
	default:
		return false, err
	}
	defer unix.Close(fd)
	now, err := quietStat(fd, "", unix.STATX_INO)
	return err == nil && unix.Mkdev(now.Dev_major, now.Dev_minor) == st.Dev && now.Ino == st.Ino, err
}

// walkQuietly opens a path (O_PATH) step by step, and stops (EAGAIN) before it would
// look for anything in a folder of FUSE.
func (c *Collector) walkQuietly(path string) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	at, err := unix.Openat2(unix.AT_FDCWD, "/", &how)
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || err != nil {
			continue
		}
		var fuse bool
		if fuse, err = c.isFUSE(at); err == nil && fuse {
			err = unix.EAGAIN
		}
		next := -1
		if err == nil {
			next, err = unix.Openat2(at, name, &how)
		}
		unix.Close(at)
		at = next
	}
	return at, err
}

// isFUSE is fuseType for one of our own descriptors.
func (c *Collector) isFUSE(fd int) (bool, error) {
	table, err := c.mountsOf(os.Getpid())
	if err != nil {
		return false, err
	}
	st, err := quietStat(fd, "", 0)
	if err != nil {
		return false, err
	}
	fstype := table[int(st.Mnt_id)]
	if fstype == "" {
		fstype, err = unlisted(st.Dev_major, st.Dev_minor)
		return fstype != "", err
	}
	return fuseName(fstype) != "", nil
}

func fuseName(fstype string) string {
	if fstype == "fuse" || fstype == "fuseblk" || strings.HasPrefix(fstype, "fuse.") || strings.HasPrefix(fstype, "fuseblk.") {
		return fstype
	}
	return ""
}

// mountsOf reads the mounts that a process sees, once for all that see the same.
func (c *Collector) mountsOf(pid int) (mounts, error) {
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return nil, err
	}
	if c.mounts[ns] != nil {
		return c.mounts[ns], nil
	}
	list, err := proc.Mounts(pid)
	if err != nil {
		return nil, err
	}
	table := make(mounts, len(list))
	for _, m := range list {
		table[m.ID] = m.FSType
	}
	if c.mounts == nil {
		c.mounts = map[string]mounts{}
	}
	c.mounts[ns] = table
	return table, nil
}

// fuseError: nothing can be found out about it while the target stands still.
type fuseError struct{ what, fstype string }

func (e *fuseError) Error() string {
	return fmt.Sprintf("%s is on a FUSE file system (%s), whose server could keep the program standing still, and can't be saved", e.what, e.fstype)
}

// BlockFUSE blocks the descriptors that are on FUSE.
func (c *Collector) BlockFUSE(subjects []*Subject) {
	for _, s := range subjects {
		if s.FUSE != "" {
			c.Block(s.PID, &fuseError{fmt.Sprintf("fd %d (%s)", s.FD, s.Target), s.FUSE})
		}
	}
}

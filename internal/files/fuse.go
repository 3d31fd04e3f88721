package files

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/sys"
)

// On FUSE almost every call asks the server, even stat(2) and close(2) of a
// duplicate. The server is a process that we may have stopped, or that may never
// answer, and the wait can't be interrupted. So it is found out without asking
// the server which files are on FUSE.

// mounts are the file system types of one mount namespace, by mount id.
type mounts map[int]string

// bdiFolder lists, by device number, the file systems that are written back to a
// disk or a server, and so every FUSE file system for as long as it exists.
const bdiFolder = "/sys/class/bdi"

// resolveCached is RESOLVE_CACHED of openat2(2): only the dentry cache is used.
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

// Served returns an error for each mapping of a process that is on FUSE, because
// reading memory there means waiting for a server. In judged it remembers the file
// systems by device: for as long as nobody unmaps what is mapped, a device stays theirs.
func Served(pid int, list []proc.Mapping, judged map[uint64]string) (reasons []error, err error) {
	var types map[uint64]string // of mounted file systems, by device
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

// unlisted is fuseType for a file system that is no longer mounted, or mounted
// elsewhere. Of those with an entry in bdiFolder and no disk, a few are not FUSE;
// but they ask a server, too.
func unlisted(major, minor uint32) (string, error) {
	name := fmt.Sprintf("%s/%d:%d", bdiFolder, major, minor)
	if major != 0 {
		name += "-fuseblk"
	}
	_, err := os.Lstat(name)
	if err == nil {
		return "of a server, and no longer mounted", nil
	}
	if _, err := os.Lstat(bdiFolder); err == nil {
		return "", nil
	}
	// Without sysfs only the file system that the kernel mounts for itself is
	// known not to be FUSE.
	own, err := sys.ShmemDev()
	if err != nil || own == unix.Mkdev(major, minor) {
		return "", err
	}
	return "or of another kind: it is no longer mounted", nil
}

// quietStat is a stat(2) that asks no server. It always returns the device and
// the mount; anything else that is wanted, if the kernel knows it.
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

// leadsTo reports whether a path, without symbolic links on the way, leads to the file of
// st, which is not on FUSE; the path itself may lead to FUSE by now. It returns an
// error if that can't be found out.
func (c *Collector) leadsTo(path string, st *unix.Stat_t) (bool, error) {
	fd, err := c.openQuietly(path)
	if fd < 0 {
		return false, err
	}
	defer unix.Close(fd)
	now, err := quietStat(fd, "", unix.STATX_INO)
	return err == nil && unix.Mkdev(now.Dev_major, now.Dev_minor) == st.Dev && now.Ino == st.Ino, err
}

// openQuietly opens a path (O_PATH) without symbolic links on the way, and asks no server
// of FUSE. It returns -1 if part of the path is gone, or something else by now, and an
// error besides if that can't be found out.
func (c *Collector) openQuietly(path string) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | resolveCached}
	fd, err := openFromRoot(path, &how)
	if err == unix.EAGAIN || err == unix.EINVAL { // before Linux 5.12
		fd, err = c.walkQuietly(path)
	}
	switch err {
	case nil:
		return fd, nil
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EAGAIN:
		return -1, nil
	}
	return -1, err
}

// walkQuietly opens a path (O_PATH) step by step, and stops with EAGAIN before it
// would look up anything in a folder on FUSE.
func (c *Collector) walkQuietly(path string) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	at, err := openFromRoot("/", &how)
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
	table, err := c.ownMounts()
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

// ownMounts are the mounts that this process sees.
func (c *Collector) ownMounts() (mounts, error) { return c.mountsOf(os.Getpid()) }

func fuseName(fstype string) string {
	if fstype == "fuse" || fstype == "fuseblk" || strings.HasPrefix(fstype, "fuse.") || strings.HasPrefix(fstype, "fuseblk.") {
		return fstype
	}
	return ""
}

// mountsOf reads the mounts that a process sees, once per mount namespace.
func (c *Collector) mountsOf(pid int) (mounts, error) {
	if c.mountsBy[pid] != nil { // it stands still and can't change its namespace
		return c.mountsBy[pid], nil
	}
	ns, err := proc.Namespace(pid, pid, "mnt")
	if err != nil {
		return nil, err
	}
	if c.mounts[ns] != nil {
		c.mountsBy[pid] = c.mounts[ns]
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
		c.mounts, c.mountsBy = map[uint64]mounts{}, map[int]mounts{}
	}
	c.mounts[ns], c.mountsBy[pid] = table, table
	return table, nil
}

// fuseError: nothing can be found out about the file while the target is stopped.
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

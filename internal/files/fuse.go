package files

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// On FUSE almost every call asks the server, a process that may be stopped by
// us, or never answer, and the wait can't be interrupted: stat(2) is one, and
// close(2) of a duplicate. What lies there is found out without asking.

// mounts are those of one mount namespace, by number.
type mounts map[int]string

// fuseType returns the type of the FUSE file system that a subject is on, or "".
func (c *Collector) fuseType(s *Subject) (string, error) {
	table, err := c.mountsOf(s.PID)
	if err != nil {
		return "", err
	}
	id := s.Info.MntID
	if s.FD >= 0 && table[id] != "" {
		return fuseName(table[id]), nil
	}
	if !strings.HasPrefix(s.Target, "/") {
		return "", nil // a pipe, a socket and the like
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, s.Link, unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &st); err != nil {
		return "", fmt.Errorf("%s: %w", s.Link, err)
	}
	if st.Mask&unix.STATX_MNT_ID != 0 && table[int(st.Mnt_id)] != "" {
		return fuseName(table[int(st.Mnt_id)]), nil
	}
	// Mounted no more, or elsewhere: its connection has the device's number.
	if _, err := os.Lstat(fmt.Sprintf("/sys/fs/fuse/connections/%d", st.Dev_minor)); err == nil && st.Dev_major == 0 {
		return "fuse", nil
	}
	return "", nil
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

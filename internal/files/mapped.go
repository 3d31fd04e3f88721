package files

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/proc"
)

// DescribeMapped describes the file behind a mapping, only once, and returns the number of
// its record. Who may not follow the kernel's link to it, which takes
// CAP_CHECKPOINT_RESTORE, looks for the same file where it can be expected.
func (c *Collector) DescribeMapped(pid int, m *proc.Mapping) (uint64, error) {
	id, err := c.DescribeLink(pid, m.Link(pid))
	if !errors.Is(err, unix.EPERM) {
		return id, err
	}
	for _, find := range []func(int, *proc.Mapping) (string, func(), error){c.mappedExe, c.mappedPath, c.mappedFD} {
		link, done, err := find(pid, m)
		if err != nil {
			return 0, err
		}
		if link != "" {
			id, err := c.DescribeLink(pid, link)
			done()
			return id, err
		}
	}
	c.Block(pid, cli.WithHint(fmt.Errorf("its mapping at %x-%x is of %s, which neither that path nor a descriptor of it leads to, and CAP_CHECKPOINT_RESTORE is missing, which is needed to reach it all the same", m.Start, m.End, m.Path),
		"run ckpt-collect as root, or with that capability"))
	return 0, nil
}

func (c *Collector) mappedExe(pid int, m *proc.Mapping) (link string, done func(), err error) {
	return c.ifMapped(fmt.Sprintf("/proc/%d/exe", pid), m)
}

// mappedPath opens the path by which a file was mapped. The program may have put another file
// there, or FUSE.
func (c *Collector) mappedPath(_ int, m *proc.Mapping) (link string, done func(), err error) {
	fd, err := c.openQuietly(m.Path)
	if fd < 0 || err != nil {
		return "", nil, ignoring(err, unix.EACCES)
	}
	link, _, err = c.ifMapped(fmt.Sprintf("/proc/self/fd/%d", fd), m)
	if link == "" {
		unix.Close(fd)
	}
	return link, func() { unix.Close(fd) }, err
}

// mappedFD finds a deleted file that is also open.
func (c *Collector) mappedFD(pid int, m *proc.Mapping) (link string, done func(), err error) {
	fds, err := proc.FDs(pid)
	for _, fd := range fds {
		if name, err := proc.FDLink(pid, fd); err != nil || name != m.Path {
			continue
		}
		if link, done, err = c.ifMapped(fmt.Sprintf("/proc/%d/fd/%d", pid, fd), m); link != "" {
			return link, done, err
		}
	}
	return "", nil, err
}

// ifMapped returns a link if it leads to the file that a mapping maps.
func (c *Collector) ifMapped(link string, m *proc.Mapping) (string, func(), error) {
	st, err := quietStat(unix.AT_FDCWD, link, unix.STATX_INO|unix.STATX_TYPE)
	if err != nil {
		return "", nil, err
	}
	if st.Ino != m.Inode {
		return "", nil, nil
	}
	same := unix.Mkdev(st.Dev_major, st.Dev_minor) == m.Dev
	if !same && st.Mode&unix.S_IFMT == unix.S_IFREG {
		if same, err = c.mapsAs(link, m); err != nil {
			return "", nil, ignoring(err, unix.EACCES)
		}
	}
	if !same {
		return "", nil, nil
	}
	return link, func() {}, nil
}

// mapsAs reports whether a file, if we map it, is the one of a mapping by the kernel's word:
// on overlayfs and btrfs stat(2) tells another device than a mapping does.
func (c *Collector) mapsAs(link string, m *proc.Mapping) (bool, error) {
	if c.allLeases == nil {
		var err error
		if c.allLeases, err = allLeases(); err != nil {
			return false, err
		}
	}
	for leased := range c.allLeases {
		if leased.ino == m.Inode { // opening it might break that
			return false, nil
		}
	}
	path, err := unix.Open(link, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(path)
	if fuse, err := c.isFUSE(path); err != nil || fuse {
		return false, err
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", path), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	before, err := ourMappings(m)
	if err != nil {
		return false, err
	}
	mem, err := unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return false, err
	}
	after, err := ourMappings(m)
	return after > before, errors.Join(err, unix.Munmap(mem))
}

// ourMappings counts our own mappings of the file that another process maps.
func ourMappings(m *proc.Mapping) (n int, err error) {
	list, err := proc.ReadMaps(os.Getpid())
	for i := range list {
		if list[i].Dev == m.Dev && list[i].Inode == m.Inode {
			n++
		}
	}
	return n, err
}

// ignoring returns an error unless it is one that means only: not by this way.
func ignoring(err error, not ...error) error {
	if slices.ContainsFunc(not, func(e error) bool { return errors.Is(err, e) }) {
		return nil
	}
	return err
}

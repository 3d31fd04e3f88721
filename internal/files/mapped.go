package files

import (
	"errors"
	"fmt"
	"iter"
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
	fd, err := c.openQuietly(m.Path) // the program may have put another file there, or FUSE
	if err = ignoring(err, unix.EACCES); err != nil {
		return 0, err
	}
	links := []string{proc.Path(pid, "exe")}
	if fd >= 0 {
		defer unix.Close(fd)
		links = append(links, fmt.Sprintf("/proc/self/fd/%d", fd))
	}
	for link, err := range c.mappedLinks(pid, m, links) {
		if err != nil {
			return 0, err
		}
		is, err := c.isMapped(link, m)
		if err != nil {
			return 0, err
		}
		if is {
			return c.DescribeLink(pid, link)
		}
	}
	c.Block(pid, cli.WithHint(fmt.Errorf("its mapping at %x-%x is of %s, which neither that path nor a descriptor of it leads to, and CAP_CHECKPOINT_RESTORE is missing, which is needed to reach it all the same", m.Start, m.End, m.Path),
		"run ckpt-collect as root, or with that capability"))
	return 0, nil
}

// mappedLinks yields links, and those to descriptors of a process by which it may have mapped
// a file that was deleted since.
func (c *Collector) mappedLinks(pid int, m *proc.Mapping, links []string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, link := range links {
			if !yield(link, nil) {
				return
			}
		}
		fds, err := proc.FDs(pid)
		if err != nil {
			yield("", err)
			return
		}
		for _, fd := range fds {
			if name, err := proc.FDLink(pid, fd); err == nil && name == m.Path && !yield(proc.Path(pid, fmt.Sprintf("fd/%d", fd)), nil) {
				return
			}
		}
	}
}

// isMapped reports whether a link leads to the file that a mapping maps.
func (c *Collector) isMapped(link string, m *proc.Mapping) (bool, error) {
	st, err := quietStat(unix.AT_FDCWD, link, unix.STATX_INO|unix.STATX_TYPE)
	switch {
	case err != nil || st.Ino != m.Inode:
		return false, err
	case unix.Mkdev(st.Dev_major, st.Dev_minor) == m.Dev:
		return true, nil
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return false, nil
	}
	same, err := c.mapsAs(link, m)
	return same, ignoring(err, unix.EACCES)
}

// mapsAs reports whether a file, if we map it, is the one of a mapping by the kernel's word:
// on overlayfs and btrfs stat(2) tells another device than a mapping does.
func (c *Collector) mapsAs(link string, m *proc.Mapping) (bool, error) {
	leases, err := c.everyLease()
	if err != nil {
		return false, err
	}
	for leased := range leases {
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

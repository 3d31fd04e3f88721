package proc

import (
	"os"
	"slices"
	"strconv"
)

// FDs lists the open descriptors of a process, ascending.
func FDs(pid int) ([]int, error) { return here.FDs(pid) }

// FDs is the function of that name.
func (v View) FDs(pid int) ([]int, error) {
	fds, err := readNumbers(v.Path(pid, "fd"))
	if err != nil {
		return nil, ofPid(pid, err)
	}
	return fds, nil
}

// FDLink reads what a descriptor is open on: a path, or a text such as
// "pipe:[123]", "socket:[123]", "anon_inode:[eventpoll]", "/memfd:x (deleted)".
// A path longer than PATH_MAX (4096) is ENAMETOOLONG; open the link instead.
func FDLink(pid, fd int) (string, error) { return here.FDLink(pid, fd) }

// FDLink is the function of that name.
func (v View) FDLink(pid, fd int) (string, error) {
	text, err := os.Readlink(v.Path(pid, "fd/"+strconv.Itoa(fd)))
	if err != nil {
		return "", ofPid(pid, err)
	}
	return text, nil
}

// sortedNumbers picks the names that are numbers in the form the kernel writes.
func sortedNumbers(names []string) []int {
	var all []int
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil && n >= 0 {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

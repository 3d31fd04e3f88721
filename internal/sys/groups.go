package sys

import (
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// told are this process's supplementary groups if it had to be told.
var told *[]uint32

// TellGroups tells this process its supplementary groups: in a user namespace the kernel
// names only those that are mapped there.
func TellGroups(groups []uint32) { told = &groups }

// Groups are this process's supplementary groups.
func Groups() ([]uint32, error) {
	if told != nil {
		return *told, nil
	}
	now, err := unix.Getgroups()
	if err != nil {
		return nil, os.NewSyscallError("getgroups", err)
	}
	groups := make([]uint32, len(now))
	for i, g := range now {
		groups[i] = uint32(g)
	}
	return groups, nil
}

// SameGroups reports whether two lists are of the same supplementary groups.
func SameGroups(a, b []uint32) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

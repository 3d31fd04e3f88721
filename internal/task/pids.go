package task

import (
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"ckpt/internal/proc"
)

// PIDsLeft returns how many more tasks the control groups of this process allow,
// and the group that allows the fewest; "" if there is no limit.
func PIDsLeft() (left int64, group string, err error) {
	groups, err := readCgroups(os.Getpid())
	if err != nil {
		return 0, "", err
	}
	mounts, err := proc.Mounts(os.Getpid())
	if err != nil {
		return 0, "", err
	}
	for _, g := range groups {
		if g.Hierarchy != "" && !slices.Contains(strings.Split(g.Hierarchy, ","), "pids") {
			continue // of version 1, and of another controller
		}
		dir, err := findCgroup(mounts, g)
		if err != nil {
			continue // can't be seen from here
		}
		for ; dir != "/" && dir != "."; dir = path.Dir(dir) {
			if n, ok := pidsLeft(dir); ok && (group == "" || n < left) {
				left, group = n, dir
			}
		}
	}
	return left, group, nil
}

// pidsLeft reads pids.max and pids.current of a control group.
func pidsLeft(dir string) (int64, bool) {
	var n [2]int64
	for i, file := range []string{"pids.max", "pids.current"} {
		b, err := os.ReadFile(path.Join(dir, file))
		if err == nil {
			n[i], err = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		}
		if err != nil { // "max", the root group, or no folder of a group
			return 0, false
		}
	}
	return max(n[0]-n[1], 0), true
}

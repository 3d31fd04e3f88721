package task

import (
	"errors"
	"os"
	"path"
	"slices"
	"strings"

	"ckpt/internal/proc"
	"ckpt/stream/record"
)

var (
	errNoCgroup     = errors.New("there is no such group")
	errFrozenCgroup = errors.New("the group is frozen")
)

// findCgroup returns the folder of a group. If its hierarchy is not mounted, that is
// as if the group did not exist. A frozen group is an error, because a task that
// is frozen can't be restored.
func findCgroup(mounts []proc.Mount, g record.Cgroup) (string, error) {
	name := string(g.Path)
	if !path.IsAbs(name) || path.Clean(name) != name || strings.Contains(name, "\x00") {
		return "", errNoCgroup // outside the cgroup namespace of its reader, or made up
	}
	for _, m := range slices.Backward(mounts) {
		below, ok := strings.CutPrefix(name, strings.TrimSuffix(m.Root, "/"))
		if !ok || !isHierarchy(&m, g.Hierarchy) || below != "" && below[0] != '/' {
			continue
		}
		dir := path.Join(m.Point, below)
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			continue
		}
		frozen, err := isFrozen(dir)
		if err == nil && frozen {
			err = errFrozenCgroup
		}
		return dir, err
	}
	return "", errNoCgroup
}

// isHierarchy reports whether a mount is the hierarchy of these controllers.
func isHierarchy(m *proc.Mount, controllers string) bool {
	if controllers == "" {
		return m.FSType == "cgroup2"
	}
	if m.FSType != "cgroup" {
		return false
	}
	for c := range strings.SplitSeq(controllers, ",") {
		if !slices.Contains(m.Options, c) {
			return false
		}
	}
	return true
}

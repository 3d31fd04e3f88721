package task

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// freezers are the freezers of both versions of control groups: where each shows
// its state, and how it is thawed.
var freezers = [...]struct {
	controller    string // "" in version 2
	state, frozen string // a file, and what it contains if the group is frozen
	self, is      string // the same for the group itself, as opposed to one above it
	thaw          string
}{
	{"freezer", "freezer.state", "FR", "freezer.self_freezing", "1", "echo THAWED > %s/freezer.state"}, // FREEZING or FROZEN, and not THAWED
	{"", "cgroup.events", "frozen 1", "cgroup.freeze", "1", "echo 0 > %s/cgroup.freeze"},
}

// isFrozen reports whether the tasks of a group are frozen.
func isFrozen(dir string) (bool, error) {
	for _, f := range freezers {
		frozen, err := fileContains(path.Join(dir, f.state), f.frozen)
		if err != nil || frozen {
			return frozen, err
		}
	}
	return false, nil
}

func fileContains(file, word string) (bool, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("is it frozen: %w", err)
	}
	return bytes.Contains(b, []byte(word)), nil
}

// FrozenError: a task is frozen by its control group. Then it can't be stopped
// (version 1), or makes no system calls (version 2).
type FrozenError struct{ group, thaw string }

func (e *FrozenError) Error() string { return "is in the frozen control group " + e.group }

// Hint says how to thaw it.
func (e *FrozenError) Hint() string { return e.thaw }

// Frozen remembers which control groups were found frozen.
type Frozen struct{ known map[string]error }

// Check returns a FrozenError for a thread in a frozen group.
func (f *Frozen) Check(tid int) error {
	list, err := proc.Cgroups(tid)
	if err != nil {
		return nil // it has ended
	}
	key := fmt.Sprint(list)
	known, ok := f.known[key]
	if !ok {
		if f.known == nil {
			f.known = map[string]error{}
		}
		known = frozenIn(list)
		f.known[key] = known
	}
	return known
}

// frozenIn checks the groups of a thread. A hierarchy that is not mounted can't be
// checked.
func frozenIn(list []proc.Cgroup) error {
	mounts, err := proc.Mounts(os.Getpid())
	if err != nil {
		return nil
	}
	for _, f := range freezers {
		i := slices.IndexFunc(list, func(g proc.Cgroup) bool {
			return f.controller == "" && g.HierarchyID == 0 || slices.Contains(g.Controllers, f.controller)
		})
		if i < 0 {
			continue
		}
		group := list[i].Path
		dir, err := findCgroup(mounts, record.Cgroup{Hierarchy: strings.Join(list[i].Controllers, ","), Path: []byte(group)})
		if !errors.Is(err, errFrozenCgroup) {
			continue
		}
		// A group above it may be the one that was told to freeze.
		for up := group; len(up) > 1; up, dir = path.Dir(up), path.Dir(dir) {
			if self, err := fileContains(path.Join(dir, f.self), f.is); err == nil && self {
				return &FrozenError{group, fmt.Sprintf(f.thaw, dir)}
			}
		}
		return &FrozenError{group, "thaw it, or the group above it that was frozen"}
	}
	return nil
}

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

// freezers are the two versions of what keeps the tasks of a control group from
// running: where that is told, and how it is ended.
var freezers = [...]struct {
	controller    string // none of version 2
	state, frozen string // file, and what is in it
	self, is      string // the same of the group itself, and not of one above
	thaw          string
}{
	{"freezer", "freezer.state", "FR", "freezer.self_freezing", "1", "echo THAWED > %s/freezer.state"}, // FREEZING or FROZEN, and not THAWED
	{"", "cgroup.events", "frozen 1", "cgroup.freeze", "1", "echo 0 > %s/cgroup.freeze"},
}

// isFrozen reports whether the tasks of a group are kept from running.
func isFrozen(dir string) (bool, error) {
	for _, f := range freezers {
		frozen, err := says(path.Join(dir, f.state), f.frozen)
		if err != nil || frozen {
			return frozen, err
		}
	}
	return false, nil
}

func says(file, word string) (bool, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("is it frozen: %w", err)
	}
	return bytes.Contains(b, []byte(word)), nil
}

// FrozenError: a task is kept from running by its control group. It can't be
// stopped then (version 1), or makes no system call (version 2).
type FrozenError struct{ group, thaw string }

func (e *FrozenError) Error() string { return "is in the frozen control group " + e.group }

// Hint says how to end that.
func (e *FrozenError) Hint() string { return e.thaw }

// Frozen knows which control groups were found frozen, or not.
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

// frozenIn looks at the groups of a thread. Where their hierarchies are not
// mounted nothing tells.
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
		// The order may have been given to one above.
		for up := group; len(up) > 1; up, dir = path.Dir(up), path.Dir(dir) {
			if self, err := says(path.Join(dir, f.self), f.is); err == nil && self {
				return &FrozenError{group, fmt.Sprintf(f.thaw, dir)}
			}
		}
		return &FrozenError{group, "thaw it, or the group above it that was frozen"}
	}
	return nil
}

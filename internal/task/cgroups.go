package task

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

// cgroups: the control groups of a process, and of those of its threads that are
// in other groups; all threads must exist. It comes before sched, because a task
// that enters a cpuset gets another CPU affinity.
var cgroups = row[record.Cgroups]{
	Type:    record.TypeCgroups,
	Scope:   PerProcess,
	Collect: collectCgroups,
	Check: func(c *record.Cgroups) []error {
		for _, m := range membersOf(c) {
			if len(m.groups) > maxHierarchies {
				return []error{fmt.Errorf("%w: pid %d is in %d control groups", stream.ErrCorrupt, m.tid, len(m.groups))}
			}
		}
		return nil
	},
	Restore: restoreCgroups,
}.resource()

// maxHierarchies is more than there can be: one for each controller, and those
// that have only a name.
const maxHierarchies = 256

// ThreadsOf returns the threads that a CGROUPS record names. The caller checks that
// they belong to its process, or anybody's thread could be moved.
func ThreadsOf(rec *stream.Record) (tids []int) {
	if c, err := decode[record.Cgroups](rec); err == nil {
		for _, t := range c.Threads {
			tids = append(tids, t.TID)
		}
	}
	return tids
}

// CgroupPolicy says what to do about the control groups of a process.
type CgroupPolicy string

// The policies.
const (
	CgroupsKeep   CgroupPolicy = "keep"   // put it back into those that exist here
	CgroupsStrict CgroupPolicy = "strict" // the same, but refuse if one does not
	CgroupsIgnore CgroupPolicy = "ignore" // leave it in those of ckpt-apply
)

// ParseCgroupPolicy parses the value of --cgroups; "" is CgroupsKeep.
func ParseCgroupPolicy(s string) (CgroupPolicy, error) {
	switch p := CgroupPolicy(s); p {
	case "":
		return CgroupsKeep, nil
	case CgroupsKeep, CgroupsStrict, CgroupsIgnore:
		return p, nil
	}
	return "", fmt.Errorf("--cgroups %s: the policies are keep, strict and ignore", s)
}

func collectCgroups(c *Collector) error {
	tids, err := proc.Threads(c.PID)
	if err != nil {
		return err
	}
	rec := record.Cgroups{PID: c.PID, Groups: c.Facts.cgroups}
	for _, tid := range tids {
		f := c.FactsOf(tid)
		if tid == c.PID || f == nil {
			continue
		}
		groups := slices.DeleteFunc(slices.Clone(f.cgroups), func(g record.Cgroup) bool { return hasCgroup(rec.Groups, g) })
		if len(groups) > 0 {
			rec.Threads = append(rec.Threads, record.ThreadCgroups{TID: tid, Groups: groups})
		}
	}
	return c.Emit(record.TypeCgroups, &rec)
}

// readCgroups returns the control groups of a thread.
func readCgroups(tid int) ([]record.Cgroup, error) {
	list, err := proc.Cgroups(tid)
	if err != nil {
		return nil, err
	}
	groups := make([]record.Cgroup, len(list))
	for i, g := range list {
		groups[i] = record.Cgroup{Hierarchy: strings.Join(g.Controllers, ","), Path: []byte(g.Path)}
	}
	return groups, nil
}

func hasCgroup(groups []record.Cgroup, g record.Cgroup) bool {
	return slices.ContainsFunc(groups, func(h record.Cgroup) bool {
		return h.Hierarchy == g.Hierarchy && bytes.Equal(h.Path, g.Path)
	})
}

// CheckCgroups returns, if the policy is strict, an error for each group of a
// CGROUPS record that is missing here. rec may be nil.
func CheckCgroups(rec *stream.Record, policy CgroupPolicy) []error {
	if rec == nil || policy != CgroupsStrict {
		return nil
	}
	c, err := decode[record.Cgroups](rec)
	if err != nil {
		return []error{err}
	}
	own, err := readCgroups(os.Getpid())
	if err != nil {
		return []error{err}
	}
	mounts, err := proc.Mounts(os.Getpid())
	if err != nil {
		return []error{err}
	}
	var errs []error
	for _, m := range membersOf(c) {
		for _, g := range m.groups {
			if hasCgroup(own, g) {
				continue
			}
			dir, err := findCgroup(mounts, g)
			if err == nil {
				err = mayEnter(dir, g, m)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("pid %d was in control group %s: %w; make it ready, or use --cgroups keep or ignore", m.tid, cgroupName(g), err))
			}
		}
	}
	return errs
}

// member is a process or a thread and the groups to put it into.
type member struct {
	tid    int
	thread bool
	groups []record.Cgroup
}

func membersOf(c *record.Cgroups) []member {
	all := []member{{c.PID, false, c.Groups}}
	for _, t := range c.Threads {
		all = append(all, member{t.TID, true, t.Groups})
	}
	return all
}

func restoreCgroups(r *Restorer, c *record.Cgroups) error {
	if r.Cgroups == CgroupsIgnore {
		return nil
	}
	var mounts []proc.Mount
	for _, m := range membersOf(c) {
		now, err := readCgroups(m.tid)
		if err != nil {
			return err
		}
		var failed []string
		for _, g := range m.groups {
			if hasCgroup(now, g) {
				continue
			}
			if mounts == nil {
				if mounts, err = proc.Mounts(os.Getpid()); err != nil {
					return err
				}
			}
			if err := enterCgroup(mounts, g, m); err != nil {
				failed = append(failed, fmt.Sprintf("%s (%v)", cgroupName(g), err))
			}
		}
		switch {
		case len(failed) == 0:
		case r.Cgroups == CgroupsStrict:
			return fmt.Errorf("pid %d can't be put back into its control groups: %s", m.tid, strings.Join(failed, ", "))
		default:
			r.Note("pid %d stays in control groups of ckpt-apply in place of %s", m.tid, strings.Join(failed, ", "))
		}
	}
	return nil
}

// membersFile is the file to write a process's or thread's id to, to put it into a
// group.
func membersFile(dir string, g record.Cgroup, m member) string {
	switch {
	case m.thread && g.Hierarchy == "":
		return path.Join(dir, "cgroup.threads")
	case m.thread:
		return path.Join(dir, "tasks")
	}
	return path.Join(dir, "cgroup.procs")
}

// mayEnter returns an error if this user may not put anything into a group.
func mayEnter(dir string, g record.Cgroup, m member) error {
	file := membersFile(dir, g, m)
	if unix.Faccessat(unix.AT_FDCWD, file, unix.W_OK, unix.AT_EACCESS) == unix.EACCES {
		return &caps.Missing{Set: caps.Of(unix.CAP_DAC_OVERRIDE), To: "write to %s", Who: file}
	}
	return nil
}

// enterCgroup puts a process or thread into a group.
func enterCgroup(mounts []proc.Mount, g record.Cgroup, m member) error {
	dir, err := findCgroup(mounts, g)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(membersFile(dir, g, m), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%d\n", m.tid)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// cgroupName names a group in messages.
func cgroupName(g record.Cgroup) string {
	if g.Hierarchy == "" {
		return fmt.Sprintf("%s of version 2", g.Path)
	}
	return fmt.Sprintf("%s of %s", g.Path, g.Hierarchy)
}

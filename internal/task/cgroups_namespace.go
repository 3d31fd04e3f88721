package task

import (
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/stream"
	"ckpt/stream/record"
)

// CgroupRoots returns the root in each hierarchy of a process's cgroup namespace, in which we
// are not. The kernel does not tell it, but how the process's groups are called from there.
func CgroupRoots(pid int) ([]record.Cgroup, error) {
	here, err := readCgroups(pid)
	if err != nil {
		return nil, err
	}
	there, err := readCgroupsThere(pid)
	if err != nil {
		return nil, err
	}
	return cgroupRoots(here, there)
}

func cgroupRoots(here, there []record.Cgroup) (roots []record.Cgroup, err error) {
	for _, g := range here {
		i := slices.IndexFunc(there, func(t record.Cgroup) bool { return t.Hierarchy == g.Hierarchy })
		if i < 0 {
			return nil, fmt.Errorf("its control group %s is not in the hierarchies of its cgroup namespace", cgroupName(g))
		}
		below := strings.TrimSuffix(string(there[i].Path), "/")
		root, ok := strings.CutSuffix(string(g.Path), below)
		if !ok || below == "/.." || strings.HasPrefix(below, "/../") {
			return nil, fmt.Errorf("is in the control group %s, which is not below the root of its cgroup namespace, so that where this is can't be told", cgroupName(g))
		}
		roots = append(roots, record.Cgroup{Hierarchy: g.Hierarchy, Path: []byte(path.Join("/", root))})
	}
	return roots, nil
}

// readCgroupsThere is readCgroups as the process itself would read them. A thread that does not
// come back enters its cgroup namespace for that.
func readCgroupsThere(pid int) (groups []record.Cgroup, err error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	done := make(chan struct{})
	var read func()
	read = func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			go read() // that thread does not end
			<-done
			runtime.UnlockOSThread()
			return
		}
		defer close(done)
		if err = os.NewSyscallError("setns", unix.Setns(fd, unix.CLONE_NEWCGROUP)); err == nil {
			groups, err = readCgroups(pid)
		}
	}
	go read()
	<-done
	return groups, err
}

// CheckCgroupRoots judges the roots of a cgroup namespace, of which process pid is the first.
func CheckCgroupRoots(pid int, roots []record.Cgroup, policy CgroupPolicy) []error {
	if len(roots) > maxHierarchies {
		return []error{fmt.Errorf("%w: a cgroup namespace in %d hierarchies", stream.ErrCorrupt, len(roots))}
	}
	if policy != CgroupsStrict {
		return nil
	}
	rec, err := stream.New(record.TypeCgroups, &record.Cgroups{PID: pid, Groups: roots})
	if err != nil {
		return []error{err}
	}
	return CheckCgroups(rec, policy)
}

// EnterCgroupRoots puts a process into what is to be the root of its cgroup namespace.
func EnterCgroupRoots(pid int, roots []record.Cgroup, policy CgroupPolicy, note func(format string, args ...any)) error {
	other := func(format string, args ...any) {
		note("the root of the tree's cgroup namespace is another group: "+format, args...)
	}
	err := restoreCgroups(&Restorer{PID: pid, Cgroups: policy, Note: other}, &record.Cgroups{PID: pid, Groups: roots})
	if err != nil {
		return errors.Join(errors.New("the root of a cgroup namespace is not there"), err)
	}
	return nil
}

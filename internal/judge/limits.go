package judge

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/depot"
	"ckpt/internal/proc"
	"ckpt/internal/task"
	"ckpt/stream/record"
)

// allowance is how much this system lets this user have.
type allowance struct {
	// descriptors reports whether a process may have n descriptors.
	descriptors func(n uint64) bool
	most        uint64 // how many it may have without a capability
	room        int    // how many files ckpt-apply's depot holds without a holder
	files       int64
	tasks       []bound
}

// bound is a limit on how many more tasks there may be.
type bound struct {
	left int64
	what string
}

const (
	forWork   = 2  // descriptors that a process needs besides its own while it is restored
	unbounded = -1 // there is no limit
	ownTasks  = 16 // a stub, and threads of ckpt-apply itself
)

// limits judges whether this system lets this user have as much at once as a restore
// takes. isThere: the tree runs here, with its files open. apart: see caps.Process.
func (m *Model) limits(isThere, apart bool) []error {
	a, err := allowed(isThere, apart)
	if err != nil {
		return []error{err}
	}
	return m.beyond(a, isThere)
}

// allowed reads the limits of this system.
func allowed(isThere, apart bool) (a allowance, err error) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return a, os.NewSyscallError("getrlimit", err)
	}
	a.most = lim.Max
	a.descriptors = func(n uint64) bool {
		// Whoever may raise the limit of his processes may also raise his own.
		return n <= lim.Max || unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n}, nil) == nil
	}
	if a.room, err = depot.Room(0); err != nil {
		return a, err
	}
	status, err := proc.ReadStatus(os.Getpid())
	if err != nil {
		return a, err
	}
	if apart {
		status.CapEff = 0
	}
	if a.files, err = filesLeft(&status, isThere); err != nil {
		return a, err
	}
	a.tasks, err = tasksLeft(&status)
	return a, err
}

// filesLeft returns how many more files the system allows to be open. If the tree is
// there, all that are open are taken for the tree's.
func filesLeft(s *proc.Status, isThere bool) (int64, error) {
	if s.CapEff&(1<<unix.CAP_SYS_ADMIN) != 0 {
		return unbounded, nil
	}
	used, most, err := proc.FileNR()
	if err != nil || isThere {
		return most, err
	}
	return max(most-used, 0), nil
}

// tasksLeft returns how many more tasks this user may have.
func tasksLeft(s *proc.Status) ([]bound, error) {
	var all []bound
	left, group, err := task.PIDsLeft()
	if err != nil {
		return nil, err
	}
	if group != "" {
		all = append(all, bound{left, "pids.max of control group " + group})
	}
	const exempt = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_SYS_RESOURCE
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &lim); err != nil {
		return nil, os.NewSyscallError("getrlimit", err)
	}
	if lim.Cur == unix.RLIM_INFINITY || s.Uid[0] == 0 || s.CapEff&exempt != 0 {
		return all, nil
	}
	now, err := proc.TasksOf(s.Uid[0])
	return append(all, bound{max(int64(min(lim.Cur, 1<<40))-int64(now), 0), "RLIMIT_NPROC"}), err
}

// beyond returns an error for everything in the image that exceeds the allowance.
func (m *Model) beyond(a allowance, isThere bool) (reasons []error) {
	owners := m.tableOwners()
	for _, ref := range slices.Sorted(maps.Keys(m.Tables)) {
		if err := m.tableBeyond(ref, owners, a); err != nil {
			reasons = append(reasons, err)
		}
	}
	described, kept := m.openFiles()
	if a.files != unbounded && int64(described) > a.files {
		reasons = append(reasons, cli.WithHint(fmt.Errorf("the image has %d open files, and this system allows %d", described, a.files), "raise /proc/sys/fs/file-max"))
	}
	needed := depot.Holders(kept, a.room)
	if needed > 0 || !isThere {
		needed += ownTasks
	}
	if !isThere {
		needed += len(m.ByTID)
	}
	for _, b := range a.tasks {
		if int64(needed) > b.left {
			reasons = append(reasons, fmt.Errorf("restoring this takes %d more processes and threads, and %s allows %d", needed, b.what, b.left))
		}
	}
	return reasons
}

// tableBeyond returns an error if a process can't have a descriptor table. owners names
// a process for each.
func (m *Model) tableBeyond(ref uint64, owners map[uint64]int, a allowance) error {
	t := m.Tables[ref]
	count, last := len(t.FDs)+forWork, 0
	for _, fd := range t.FDs {
		last = max(last, fd.FD)
	}
	for _, fd := range t.Slots {
		last = max(last, fd)
	}
	if a.descriptors(uint64(max(count, last+1))) {
		return nil
	}
	owner := "no process"
	if tid, ok := owners[ref]; ok {
		owner = m.who(tid)
	}
	err := fmt.Errorf("%s has descriptor number %d, and no process of this user may have one above %d (RLIMIT_NOFILE)", owner, last, a.most-1)
	if uint64(last) < a.most {
		err = fmt.Errorf("%s has %d descriptors and needs %d while it is restored, and a process of this user may have %d (RLIMIT_NOFILE)",
			owner, len(t.FDs), count, a.most)
	}
	return cli.WithHint(err, "raise the hard limit of descriptors, see ulimit -Hn, or have CAP_SYS_RESOURCE")
}

// tableOwners returns, for each descriptor table, the thread with the lowest id that has
// it.
func (m *Model) tableOwners() map[uint64]int {
	owners := make(map[uint64]int, len(m.Tables))
	for tid, th := range m.ByTID {
		if first, ok := owners[th.Refs.Files]; !ok || tid < first {
			owners[th.Refs.Files] = tid
		}
	}
	return owners
}

// openFiles returns how many open file descriptions there are, and how many files at
// most ckpt-apply has open while it makes them.
func (m *Model) openFiles() (described, kept int) {
	for _, rec := range m.Objects {
		switch {
		case rec.Type == record.TypeFile:
			described++
			kept++
		case isThing(rec.Type):
			kept += 2
		}
	}
	return described, kept
}

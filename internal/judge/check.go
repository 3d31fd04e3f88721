package judge

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/files"
	"ckpt/internal/ipc"
	"ckpt/internal/memory"
	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/internal/puppet"
	"ckpt/internal/task"
	"ckpt/stream"
	"ckpt/stream/record"
)

const maxPID = 1 << 22 // PID_MAX_LIMIT of linux/threads.h

// check judges the whole description, except for what depends on this system.
func (m *Model) check(f *files.Restorer, objects *object.Set) (reasons []error) {
	m.sort()
	add := func(errs ...error) { reasons = append(reasons, errs...) }
	if c := m.Header.Clocks; c != nil {
		add(task.CheckClocks(c)...)
	}
	add(m.checkNamespaces()...)
	add(m.checkMounts()...)
	f.OwnIPC = m.Namespace(record.NamespaceIPC) != nil
	for i, t := range m.Tasks {
		add(checkTask(t, i == 0 && m.IsInit())...)
	}
	for _, rec := range m.Objects {
		switch {
		case rec.Type == record.TypeSemUndo && f.OwnIPC:
			add(task.CheckSemUndo(rec, ipc.Sems(m.Objects))...)
		case task.Find(rec.Type) != nil:
			add(checkResource(rec)...)
		}
	}
	f.HasGroup = func(sid, pgid int) bool {
		return slices.ContainsFunc(m.Tasks, func(t *Task) bool { return (sid == 0 || t.Session == sid) && t.Group == pgid })
	}
	f.InTree = func(id int) bool { return m.ByPID[id] != nil || m.ByTID[id] != nil }
	f.Mapped = m.mapped
	f.Root, f.Elsewhere = m.Tasks[0].PID, func(objref uint64) bool { return m.usedElsewhere[objref] }
	var fds []record.FD
	for _, ref := range slices.Sorted(maps.Keys(m.Spaces)) {
		add(memory.Check(m.Spaces[ref].VMAs)...)
	}
	for _, ref := range slices.Sorted(maps.Keys(m.Tables)) {
		t := m.Tables[ref]
		fds = append(fds, t.FDs...)
		add(files.CheckTable(t.FDs, t.Locks)...)
		add(f.CheckLeases(t.Locks, func(objref uint64) *stream.Record { return m.Defined[objref] })...)
	}
	undecided := f.Decide(m.Objects, fds)
	for _, rec := range slices.Concat(m.Objects, m.Parts) {
		add(objects.Check(rec)...)
	}
	add(undecided...)
	return reasons
}

// who names a process in messages.
func (m *Model) who(pid int) string {
	if th := m.ByTID[pid]; th != nil {
		return fmt.Sprintf("pid %d (%s)", pid, th.Comm)
	}
	return fmt.Sprintf("pid %d", pid)
}

// checkHere judges what depends on this system, except for files.
func (m *Model) checkHere(cgroups task.CgroupPolicy) (reasons []error) {
	in, ids := sessions(), newSearch()
	if ns := m.Namespace(record.NamespaceCgroup); ns != nil {
		reasons = task.CheckCgroupRoots(m.Tasks[0].PID, ns.Groups, cgroups)
	}
	taken := func(id int) {
		errs := ids.taken(id)
		if member := in[id]; len(errs) == 0 && member != 0 {
			errs = []error{inUse(id, fmt.Sprintf("the session %d, which %s is in", id, proc.Named(member)), endFirst)}
		}
		reasons = append(reasons, errs...)
	}
	for i, t := range m.Tasks {
		if i > 0 || !m.IsInit() {
			taken(t.PID)
		}
		for _, th := range t.Threads {
			if th.TID != t.PID {
				taken(th.TID)
			}
		}
		for _, err := range task.CheckCgroups(t.Resources[record.TypeCgroups], cgroups) {
			// It may be in the root of its cgroup namespace.
			if !slices.ContainsFunc(reasons, func(r error) bool { return r.Error() == err.Error() }) {
				reasons = append(reasons, err)
			}
		}
	}
	return reasons
}

// checkTask judges a process and its threads. isInit: it may be the init of a pid namespace.
func checkTask(t *Task, isInit bool) (errs []error) {
	check := func(id int) {
		if id < 2 || id > maxPID {
			errs = append(errs, fmt.Errorf("%w: process id %d", stream.ErrCorrupt, id))
		}
	}
	switch {
	case isInit:
	case t.PID == initPID:
		errs = append(errs, cli.WithHint(fmt.Errorf("pid 1 (%s) is the init of its pid namespace, which can't be restored when it was saved from inside of that", t.Comm), "run ckpt-collect outside of the pid namespace"))
	default:
		check(t.PID)
	}
	if t.PGID < 0 || t.PGID > maxPID || t.SID < 0 || t.SID > maxPID || t.ExitSignal < 0 || t.ExitSignal > lastSignal {
		errs = append(errs, fmt.Errorf("%w: pid %d in session %d, group %d, with exit signal %d", stream.ErrCorrupt, t.PID, t.SID, t.PGID, t.ExitSignal))
	}
	if t.Zombie {
		if t.Status>>16 != 0 || !puppet.CanEnd(unix.WaitStatus(t.Status)) {
			errs = append(errs, fmt.Errorf("%w: pid %d has ended with status %#x", stream.ErrCorrupt, t.PID, t.Status))
		}
		return errs
	}
	if len(t.Threads) == 0 {
		return append(errs, fmt.Errorf("%w: pid %d (%s) has no THREAD record", stream.ErrCorrupt, t.PID, t.Comm))
	}
	errs = append(errs, checkFirst(t)...)
	for _, th := range t.Threads {
		if th.TID != t.PID {
			check(th.TID)
		}
		for i := range task.Resources {
			r := &task.Resources[i]
			if th.Ended && r.Scope == task.PerThread && !r.First {
				if th.Resources[r.Type] != nil {
					errs = append(errs, fmt.Errorf("%w: thread %d has ended and has a %v record", stream.ErrCorrupt, th.TID, r.Type))
				}
				continue
			}
			if r.Required && (r.Scope == task.PerThread && th.Resources[r.Type] == nil || r.Scope == task.PerProcess && t.Resources[r.Type] == nil) {
				errs = append(errs, fmt.Errorf("thread %d of pid %d (%s) has no %v record", th.TID, t.PID, t.Comm, r.Type))
			}
		}
		for _, rec := range inOrder(th.Resources) {
			errs = append(errs, checkResource(rec)...)
		}
	}
	for _, rec := range inOrder(t.Resources) {
		errs = append(errs, checkResource(rec)...)
	}
	if rec := t.Resources[record.TypeCgroups]; rec != nil {
		errs = append(errs, checkMembers(t, rec)...)
	}
	return errs
}

// checkFirst judges how the first thread of a process has ended, if it has. It is made like
// the others, so what it has must be what another has.
func checkFirst(t *Task) []error {
	first := t.Threads[0]
	var bad string
	switch {
	case !first.Ended && first.Status == 0:
		return nil
	case !first.Ended || !puppet.CanEndFirst(unix.WaitStatus(first.Status)):
		bad = fmt.Sprintf("status %#x", first.Status)
	case len(t.Threads) == 1:
		bad = "no other thread"
	case first.Refs != t.Threads[1].Refs:
		bad = "other objects than the next one"
	default:
		return nil
	}
	return []error{fmt.Errorf("%w: the first thread of pid %d (%s) has %s", stream.ErrCorrupt, t.PID, t.Comm, bad)}
}

// inOrder returns the records of resources in the order of their table.
func inOrder(recs map[record.Type]*stream.Record) (list []*stream.Record) {
	for i := range task.Resources {
		if rec := recs[task.Resources[i].Type]; rec != nil {
			list = append(list, rec)
		}
	}
	return list
}

// checkResource judges a record of a task.
func checkResource(rec *stream.Record) []error { return task.Find(rec.Type).Check(rec) }

const lastSignal = 64

// checkMembers returns an error if a CGROUPS record names a thread of another process.
func checkMembers(t *Task, rec *stream.Record) []error {
	own := map[int]bool{}
	for _, th := range t.Threads {
		own[th.TID] = true
	}
	for _, tid := range task.ThreadsOf(rec) {
		if !own[tid] {
			return []error{fmt.Errorf("%w: pid %d (%s) has control groups of thread %d, which belongs to another process", stream.ErrCorrupt, t.PID, t.Comm, tid)}
		}
	}
	return nil
}

// checkOrigin compares the system the image was made on with this one.
func (m *Model) checkOrigin() []error {
	h := &m.Header
	var errs []error
	var err error
	if h.Arch != runtime.GOARCH {
		errs = append(errs, fmt.Errorf("the image was made on a %s system, and this is %s", h.Arch, runtime.GOARCH))
	}
	if h.PageSize != int64(os.Getpagesize()) {
		errs = append(errs, fmt.Errorf("the image has pages of %d bytes, and this system has pages of %d", h.PageSize, os.Getpagesize()))
	}
	if m.ForeignVDSO, err = memory.ForeignVDSO(h); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// tellHost tells that this is another host than the image's.
func (m *Model) tellHost(note func(string, ...any)) {
	const maxName = 64 // __NEW_UTS_LEN of linux/utsname.h
	var here unix.Utsname
	if m.Namespace(record.NamespaceUTS) != nil || unix.Uname(&here) != nil { // a name of its own goes along
		return
	}
	if name := unix.ByteSliceToString(here.Nodename[:]); name != m.Header.Host && len(m.Header.Host) <= maxName {
		note("the image was made on %q, and this is %q: what the program remembers of its host, such as the name, the machine id or addresses, is of the other", m.Header.Host, name)
	}
}

// IsThisBoot reports whether this system was not rebooted since the checkpoint.
func (m *Model) IsThisBoot() bool { return isThisBoot(&m.Header) }

// isThisBoot reports whether this system was not rebooted since the checkpoint.
func isThisBoot(h *record.Header) bool {
	now, err := proc.BootID()
	return err == nil && now == h.BootID
}

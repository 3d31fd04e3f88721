package task

import (
	"errors"
	"io/fs"

	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// Facts is what /proc tells about a stopped thread.
type Facts struct {
	Status     proc.Status
	Comm       string
	Namespaces map[string]uint64

	cgroups  []record.Cgroup
	loginUID *uint32 // nil if the kernel has no audit
	slack    *uint64 // the timer slack, if it takes long to ask the thread; nil if this user may not read it
}

// EndedFacts are those about the first thread of a process, which has ended while others go
// on: what /proc still tells of it, and for the rest what it tells of another.
func EndedFacts(pid int, other *Facts) (*Facts, error) {
	f := *other
	var err error
	if f.Status, err = proc.ReadStatus(pid); err != nil {
		return nil, err
	}
	f.Comm, f.slack = f.Status.Name, nil
	if f.cgroups, err = readCgroups(pid); err != nil {
		return nil, err
	}
	f.loginUID, err = readLoginUID(pid, pid)
	return &f, err
}

// ended reports whether the thread is the first of a process and has ended.
func (f *Facts) ended() bool { return f != nil && f.Status.State == 'Z' }

// readLoginUID returns nil if the kernel has no audit.
func readLoginUID(pid, tid int) (*uint32, error) {
	uid, err := proc.ReadLoginUID(pid, tid)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return &uid, err
}

// ReadFacts reads the facts about a thread, given those about the first thread of its
// process, which are nil for that itself.
func ReadFacts(pid, tid int, first *Facts) (*Facts, error) {
	f := &Facts{}
	var err error
	if f.Status, err = proc.ReadThreadStatus(pid, tid); err != nil {
		return nil, err
	}
	f.Comm = f.Status.Name
	if first == nil {
		f.Namespaces, err = proc.Namespaces(pid, tid)
	} else {
		f.Namespaces, err = proc.ThreadNamespaces(pid, tid, first.Namespaces)
	}
	if err != nil {
		return nil, err
	}
	if f.cgroups, err = readCgroups(tid); err != nil {
		return nil, err
	}
	if f.loginUID, err = readLoginUID(pid, tid); err != nil {
		return nil, err
	}
	if f.Status.Seccomp != 0 { // it makes one call at a time
		if slack, err := proc.ReadTimerSlack(tid); err == nil {
			f.slack = &slack
		}
	}
	return f, nil
}

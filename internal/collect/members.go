package collect

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/cli"
	"ckpt/internal/proc"
)

// members reads, from outside, what the members of a pid namespace may do, before anything of
// ours enters that.
//
// Whoever has CAP_SYS_PTRACE there can have the ckpt-collect inside do what he wants
// (ptrace(2)), and so get all that it may do: in a container, also to the system outside. Other
// members can't: also who has the same user ids needs all of its capabilities, and it has that
// one. So those are refused that have CAP_SYS_PTRACE,
// or can get it, and are not as powerful. The sets that are read only shrink: what is not in
// them now will not be later, nor will it for a child.
type members struct {
	own       *caps.Process
	ours      caps.Set // what the one inside may do
	user, pid uint64   // our user namespace, and the target's pid namespace
	depth     int      // of that
	seen      map[int]bool
	strong    []string // those that are refused
}

func newMembers(own *caps.Process, pid int) (m *members, err error) {
	m = &members{own: own, ours: caps.Set(own.CapPrm), seen: map[int]bool{}}
	if own.Uid[0] == 0 || own.Uid[1] == 0 { // it will have those by execve(2)
		m.ours |= caps.Set(own.CapBnd | own.CapInh)
	}
	if m.user, err = proc.Namespace(ownPID(), ownPID(), "user"); err != nil {
		return nil, err
	}
	if m.pid, err = proc.Namespace(pid, pid, "pid"); err != nil {
		return nil, err
	}
	status, err := proc.ReadStatus(pid)
	m.depth = len(status.NSpid)
	return m, err
}

// refuse returns an error if there is somebody who could get capabilities from the one inside.
func (m *members) refuse(pid int) error {
	// Twice: one that is always replaced by a child may not be met by the first look, if
	// its ids begin anew meanwhile.
	for range 2 {
		all, err := proc.Processes()
		if err != nil {
			return err
		}
		for _, other := range all {
			if err := m.look(other); err != nil && !proc.Gone(err) {
				return err
			}
		}
	}
	if !m.seen[pid] {
		return refused(pid, errors.New("can't be found in /proc, where who else is in its pid namespace is looked for"))
	}
	if len(m.strong) == 0 {
		return nil
	}
	const most = 3
	who, more := m.strong, ""
	if len(who) > most {
		who, more = who[:most], fmt.Sprintf(" and %d more", len(who)-most)
	}
	return refused(pid, cli.WithHint(fmt.Errorf("is in a pid namespace in which CAP_SYS_PTRACE is had, or can be got, by %s%s, who could get by it the other capabilities of a ckpt-collect that works in there", strings.Join(who, ", "), more),
		"start the program without CAP_SYS_PTRACE, as by setpriv --bounding-set -sys_ptrace or --cap-drop, or save what is below the init from inside of the pid namespace"))
}

// look looks at a process, if it is a member.
func (m *members) look(pid int) error {
	if m.seen[pid] {
		return nil
	}
	status, err := proc.ReadStatus(pid)
	if err != nil || len(status.NSpid) < m.depth {
		return err
	}
	switch in, err := proc.InNamespace(pid, "pid", m.pid); {
	case errors.Is(err, fs.ErrPermission): // it may be
	case err != nil || !in:
		return err
	}
	m.seen[pid] = true
	tids, err := proc.Threads(pid)
	if err != nil {
		return err
	}
	for _, tid := range tids {
		status, err := proc.ReadThreadStatus(pid, tid)
		if proc.Gone(err) {
			continue
		}
		if err != nil {
			return err
		}
		if status.State != 'Z' && status.State != 'X' && m.gains(&status) && m.counts(pid) {
			m.strong = append(m.strong, proc.Named(pid))
			return nil
		}
	}
	return nil
}

// gains reports whether a thread can get capabilities from the one inside, if its own count
// in our user namespace.
func (m *members) gains(s *proc.Status) bool {
	ptrace := caps.Of(unix.CAP_SYS_PTRACE)
	has := caps.Set(s.CapPrm)
	holds, gets := has|caps.Set(s.CapInh|s.CapAmb), has|caps.Set(s.CapInh|s.CapAmb|s.CapBnd)
	if s.NoNewPrivs { // execve(2) gives it none
		holds, gets = has, has
	}
	free := s.Seccomp <= m.own.Seccomp
	return holds.Has(ptrace) && !(free && has.Has(m.ours)) || gets.Has(ptrace) && !(free && gets.Has(m.ours))
}

// counts reports whether a process's capabilities are for our user namespace: they are not if
// its own is below that.
func (m *members) counts(pid int) bool {
	if its, err := proc.Namespace(pid, pid, "user"); err != nil || its == m.user {
		return true
	}
	below, err := proc.InNamespace(pid, "user", m.user)
	return err != nil || !below
}

// Package judge says, from the metadata alone, whether a stream can be restored: it
// checks the references and the state of each task, and plans how the processes are
// made. It is used by ckpt-dedup and by a dry run of ckpt-collect, before the target
// may be killed; by ckpt-apply --check; and by ckpt-apply before it makes anything.
package judge

import (
	"errors"
	"fmt"
	"slices"

	"ckpt/internal/caps"
	"ckpt/internal/files"
	"ckpt/internal/ipc"
	"ckpt/internal/memory"
	"ckpt/internal/mounts"
	"ckpt/internal/object"
	"ckpt/internal/task"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Refused is why a stream can't be restored: all reasons that were found.
type Refused struct{ Reasons []error }

func (r *Refused) Error() string { return errors.Join(r.Reasons...).Error() }

// Unwrap returns the reasons.
func (r *Refused) Unwrap() []error { return r.Reasons }

// Restore is a restore on this system, now, with what its user decided.
type Restore struct {
	Files   *files.Restorer
	Objects *object.Set // of all kinds, see Objects
	Cgroups task.CgroupPolicy
	Session string // SessionNew or SessionInherit
	Clock   string // ClockAuto, ClockKeep or ClockHost
	CPU     CPUPolicy
	Detach  bool
	Note    func(format string, args ...any)
	Own     *caps.Process // nil for that of this process
}

// Objects returns all kinds of objects, for a restart.
func Objects(f *files.Restorer, more ...[]object.Kind) *object.Set {
	return object.NewSet(f.Hash, append(more, f.Kinds(), memory.Kinds(f.Restart), ipc.Kinds(f.Restart))...)
}

// MountsOf gives the description of all mount namespaces to a restart.
func (m *Model) MountsOf(r *mounts.Restorer) error {
	for _, rec := range m.Mounts {
		if err := r.Add(rec); err != nil {
			return err
		}
	}
	for _, of := range r.Objects() {
		if ns := m.Namespaces[of]; ns == nil || ns.Kind != record.NamespaceMnt {
			return fmt.Errorf("%w: mounts in object %d, which is no mount namespace", stream.ErrCorrupt, of)
		}
	}
	for id, ns := range m.Namespaces {
		if ns.Kind == record.NamespaceMnt && !slices.Contains(r.Objects(), id) {
			return fmt.Errorf("%w: a mount namespace without a mount", stream.ErrCorrupt)
		}
	}
	return nil
}

// checkMounts judges the mount namespaces, as far as they don't depend on this system.
func (m *Model) checkMounts() []error {
	r := new(mounts.Restorer)
	if err := m.MountsOf(r); err != nil {
		return []error{err}
	}
	return r.CheckPaper()
}

// Here judges a restore on this system and plans it.
func Here(m *Model, r *Restore) (*Plan, error) {
	reasons := m.checkOrigin()
	if err := m.hasRoot(); err != nil {
		return nil, &Refused{append(reasons, err)}
	}
	own := r.Own
	if own == nil {
		var err error
		if own, err = caps.Own(); err != nil {
			return nil, err
		}
	}
	limits := m.limits(false, own.UserNS) // before files are kept open, which count
	r.Files.Own, r.Files.Who = own, m.who
	r.Files.Users, r.Files.SameBoot, r.Files.Clocks = m.users(), isThisBoot(&m.Header), m.Header.Clocks
	r.Files.Checkpoint, r.Files.Killed = m.Header.Checkpoint, m.Header.Leave == record.LeaveKilled
	if err := checkCPU(&m.Header, r.CPU); err != nil {
		reasons = append(reasons, err)
	}
	reasons = append(reasons, m.check(r.Files, r.Objects)...)
	reasons = append(reasons, m.checkHere(r.Cgroups)...)
	reasons = append(reasons, m.rights(own, r.Objects)...)
	reasons = append(reasons, limits...)
	reasons = append(reasons, m.remembered()...)
	clocks, err := planClocks(&m.Header, r.Clock, own, r.Note)
	if err != nil {
		reasons = append(reasons, err)
	}
	if len(reasons) > 0 {
		return nil, &Refused{caps.Merge(reasons)}
	}
	m.tellHost(r.Note)
	m.assignSessions(sessionPolicy{inherit: r.Session == SessionInherit, detach: r.Detach, terminal: r.Files.UsesTerminal() && !r.Detach, note: r.Note})
	p := makePlan(m)
	p.Clocks = clocks
	reasons = p.errs
	ids := newSearch()
	for _, pid := range p.Helpers {
		reasons = append(reasons, ids.taken(pid)...)
	}
	if len(reasons) > 0 {
		return nil, &Refused{reasons}
	}
	return p, nil
}

// OnPaper judges, while the tree is still there, whether a stream can be restored at
// all. What another system or another decision of the user can change is not judged,
// except for the limits of this system: whoever saves the tree and has it killed must
// be able to bring it back where it was.
func OnPaper(m *Model) error { return m.judge(m.onPaper()) }

// onPaper is a restart that is none.
func (m *Model) onPaper() *files.Restorer {
	return &files.Restorer{Restart: &object.Restart{Paper: true, Who: m.who}}
}

func (m *Model) judge(paper *files.Restorer) error {
	if err := m.hasRoot(); err != nil {
		return &Refused{[]error{err}}
	}
	reasons := m.check(paper, Objects(paper))
	reasons = append(reasons, m.limits(true, false)...)
	if len(reasons) == 0 {
		reasons = m.planOnPaper()
	}
	if len(reasons) > 0 {
		return &Refused{reasons}
	}
	return nil
}

// planOnPaper plans for both sessions that the user may choose; one of the plans is
// enough.
func (m *Model) planOnPaper() (reasons []error) {
	for _, inherit := range []bool{false, true} {
		m.assignSessions(sessionPolicy{inherit: inherit, note: func(string, ...any) {}})
		p := makePlan(m)
		if len(p.errs) == 0 {
			return nil
		}
		if reasons == nil {
			reasons = p.errs
		}
	}
	return reasons
}

func (m *Model) hasRoot() error {
	if len(m.Tasks) == 0 || m.Tasks[0].Zombie {
		return errors.New("the image holds no process to restore")
	}
	return nil
}

// Package judge says whether a stream can be restored, from its metadata: the
// references, the state of each task, the plan of how the processes come to be.
// It is asked three times: by ckpt-dedup, before the target may be killed, by
// ckpt-apply --check, and by ckpt-apply before it makes anything.
package judge

import (
	"errors"
	"time"

	"ckpt/internal/caps"
	"ckpt/internal/files"
	"ckpt/internal/memory"
	"ckpt/internal/object"
	"ckpt/internal/task"
)

// Refused is why a stream can't be restored: everything found.
type Refused struct{ Reasons []error }

func (r *Refused) Error() string { return errors.Join(r.Reasons...).Error() }

// Unwrap returns the reasons.
func (r *Refused) Unwrap() []error { return r.Reasons }

// Restore is a restore that is to take place on this system, now: what its user
// decided.
type Restore struct {
	Files   *files.Restorer
	Objects *object.Set // of all kinds, see Objects
	Cgroups task.CgroupPolicy
	Session string // SessionNew or SessionInherit
	Clock   string // ClockAuto, ClockKeep or ClockHost
	Detach  bool
	Note    func(format string, args ...any)
}

// Objects are all kinds of objects, for a restart.
func Objects(f *files.Restorer) *object.Set {
	return object.NewSet(f.Hash, f.Kinds(), memory.Kinds(f.Restart))
}

// Here judges a restore on this system and plans it.
func Here(m *Model, r *Restore) (*Plan, error) {
	reasons := checkOrigin(&m.Header)
	if err := m.hasRoot(); err != nil {
		return nil, &Refused{append(reasons, err)}
	}
	own, err := caps.Own()
	if err != nil {
		return nil, err
	}
	r.Files.Own, r.Files.Who = own, m.who
	r.Files.Users, r.Files.SameBoot = m.users(), isThisBoot(&m.Header)
	reasons = append(reasons, m.check(r.Files, r.Objects)...)
	reasons = append(reasons, m.checkHere(r.Cgroups)...)
	reasons = append(reasons, m.rights(own, r.Objects)...)
	reasons = append(reasons, m.limits(false)...)
	clocks, err := planClocks(&m.Header, r.Clock, r.Note)
	if err != nil {
		reasons = append(reasons, err)
	}
	if len(reasons) > 0 {
		return nil, &Refused{caps.Merge(reasons)}
	}
	m.place(placing{inherit: r.Session == SessionInherit, detach: r.Detach, terminal: r.Files.UsesTerminal() && !r.Detach, note: r.Note})
	p := makePlan(m)
	p.Clocks = clocks
	reasons = p.errs
	until := time.Now().Add(reapTime)
	for _, pid := range p.Helpers {
		reasons = append(reasons, takenBy(pid, until)...)
	}
	if len(reasons) > 0 {
		return nil, &Refused{reasons}
	}
	return p, nil
}

// OnPaper judges, while the tree is there, whether a stream can be restored at
// all. What another system or another decision of the user can change is not
// judged, but for the limits of this system: who saves the tree and has it killed
// must be able to bring it back where it was.
func OnPaper(m *Model) error {
	if err := m.hasRoot(); err != nil {
		return &Refused{[]error{err}}
	}
	paper := &files.Restorer{Restart: &object.Restart{Paper: true, Who: m.who}}
	reasons := m.check(paper, Objects(paper))
	reasons = append(reasons, m.limits(true)...)
	if len(reasons) == 0 {
		reasons = m.planOnPaper()
	}
	if len(reasons) > 0 {
		return &Refused{reasons}
	}
	return nil
}

// planOnPaper plans for every place the user may choose, and one will do.
func (m *Model) planOnPaper() (reasons []error) {
	for _, inherit := range []bool{false, true} {
		m.place(placing{inherit: inherit, note: func(string, ...any) {}})
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

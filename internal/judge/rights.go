package judge

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/cli"
	"ckpt/internal/memory"
	"ckpt/internal/object"
	"ckpt/internal/sys"
	"ckpt/internal/task"
	"ckpt/stream"
	"ckpt/stream/record"
)

// rights returns an error for everything that the restore takes and this process may
// not do.
func (m *Model) rights(own *caps.Process, objects *object.Set) (reasons []error) {
	h := &task.Host{Process: own, Who: m.who}
	reasons = own.NeedID(m.Tasks[0].PID)
	for _, t := range m.Tasks {
		for _, th := range t.Threads {
			for _, rec := range inOrder(th.Resources) {
				reasons = append(reasons, resourceHere(h, rec)...)
			}
		}
		for _, rec := range inOrder(t.Resources) {
			reasons = append(reasons, resourceHere(h, rec)...)
		}
	}
	reasons = append(reasons, m.MountsHere(own)...)
	for _, rec := range m.Objects {
		reasons = append(reasons, resourceHere(h, rec)...)
		reasons = append(reasons, objects.Here(rec)...)
		var mm record.MM
		if rec.Type == record.TypeMM && rec.Decode(&mm) == nil && m.Spaces[mm.Objref] != nil {
			reasons = append(reasons, memory.Here(own, m.Spaces[mm.Objref].VMAs, m.who(mm.PID))...)
		}
	}
	return reasons
}

// MountsHere returns an error for what it takes to make mount namespaces and this process may
// not do.
func (m *Model) MountsHere(own *caps.Process) []error {
	if len(m.Mounts) == 0 {
		return nil
	}
	return own.NeedHost(caps.Of(unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT), "", "make a mount namespace")
}

func resourceHere(h *task.Host, rec *stream.Record) []error {
	if r := task.Find(rec.Type); r != nil && r.Here != nil {
		return r.Here(h, rec)
	}
	return nil
}

// ForSave judges OnPaper, and whether this very user could restore the stream on this
// system. If he could not, a target that is to be killed is refused. If the target
// lives on, that is only a note: somebody else may be able to restore it.
func ForSave(m *Model, note func(format string, args ...any)) error {
	paper := m.onPaper()
	if err := m.judge(paper); err != nil {
		return err
	}
	own, err := caps.Own()
	if err != nil {
		return err
	}
	const hint = "what is killed must be restorable: save it with the capabilities and limits of whoever restores it, or with --leave stopped"
	paper.Own = own
	reasons := m.rights(own, Objects(paper))
	if len(reasons) > 0 && !sys.MayChooseIDs() && sys.MayHaveUserNamespace() {
		paper.Own = own.InUserNS()
		reasons = m.rights(paper.Own, Objects(paper))
	}
	var lacks []error
	for _, err := range caps.Merge(reasons) {
		err = fmt.Errorf("this user could not restore it: %w", err)
		if m.Header.Leave == record.LeaveKilled {
			lacks = append(lacks, cli.WithHint(err, hint))
		} else {
			note("%v", err)
		}
	}
	if len(lacks) > 0 {
		return &Refused{lacks}
	}
	return nil
}

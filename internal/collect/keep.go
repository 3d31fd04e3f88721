package collect

import (
	"errors"
	"fmt"

	"ckpt/internal/files"
	"ckpt/internal/kcmp"
	"ckpt/internal/loan"
	"ckpt/internal/task"
)

// keep is something that a process does before it is killed, so that its end does not
// change what outlives it.
type keep struct {
	p *process
	task.Keep
}

// checkKeeps refuses what can't be done: in each process only one thread can be on loan,
// and its way home has room for a few calls only.
func (d *description) checkKeeps() {
	for i := range d.keeps {
		k := &d.keeps[i]
		n := 0
		for j := range d.keeps {
			o := &d.keeps[j]
			if o.p != k.p {
				continue
			}
			n++
			if o.TID == k.TID || j > i {
				continue
			}
			switch {
			case k.Anyone && sameUndo(k.TID, o.TID):
				k.TID = o.TID
			case o.Anyone && sameUndo(k.TID, o.TID):
				o.TID = k.TID
			default:
				d.blockers.add(k.p.pid, fmt.Errorf("holds robust mutexes or semaphores (SEM_UNDO) in more than one thread, %d and %d, and would lose them when it ends: use --leave running", o.TID, k.TID))
				return
			}
		}
		switch {
		case n > loan.MaxBack:
			d.blockers.add(k.p.pid, fmt.Errorf("has undo values (SEM_UNDO) for %d sets of semaphores, which its end would change, and that is more than can be prevented: use --leave running", n))
			return
		case d.about[k.p].place != nil && !d.about[k.p].place.Roomy():
			d.blockers.add(k.p.pid, errors.New("holds robust mutexes or semaphores (SEM_UNDO), which it would lose when it ends, and has no room for the code that prevents that: use --leave running"))
			return
		}
	}
}

func sameUndo(a, b int) bool {
	o, err := kcmp.Compare(a, b, kcmp.SysVSem, 0, 0)
	return err == nil && o == kcmp.Equal
}

// keep makes the calls. The threads stay on loan: if they are killed, they never come
// home; if they are let go, they take the calls back on the way.
func (d *description) keep() error {
	loans := map[*process]*loan.Loan{}
	for _, k := range d.keeps {
		l := loans[k.p]
		for _, t := range k.p.threads {
			if l != nil || t.TID != k.TID {
				continue
			}
			var err error
			if l, err = loan.Borrow(t, d.about[k.p].place); err != nil {
				return err
			}
			loans[k.p] = l
		}
		if err := k.Do(l); err != nil {
			return fmt.Errorf("pid %d (%s): keep its end from changing what outlives it: %w", k.p.pid, k.p.stat.Comm, err)
		}
	}
	return nil
}

// guard is the Guard of files.Collector. If seccomp would kill the thread for the call,
// there is no guard.
func (d *description) guard(scratch []byte, nr uintptr, args ...uint64) (over func() error, err error) {
	l := d.lender.loan
	if l == nil {
		return nil, nil // the process is not saved anyway, see callable
	}
	for i := range args {
		if at := args[i] - files.ScratchArg; at < uint64(len(scratch)) {
			args[i] = l.Scratch().Addr + at
		}
	}
	if ok, err := task.Survives(l.Tracee(), nr, args...); err != nil || !ok {
		return func() error { return nil }, err
	}
	if err := l.Tracee().WriteMem(l.Scratch().Addr, scratch); err != nil {
		return nil, err
	}
	over, err = l.Guard(nr, args...)
	if errors.Is(err, loan.ErrNoPlace) { // as with seccomp: if we are killed, the call is not made
		return func() error { return nil }, nil
	}
	return over, err
}

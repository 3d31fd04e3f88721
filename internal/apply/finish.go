package apply

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/judge"
	"ckpt/internal/puppet"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// ready is a thread with all it needs to run.
type ready struct {
	puppet *puppet.Puppet
	final  *task.Final
}

// resources restores everything in the threads but memory and descriptors, also what
// was changed in order to make them. It returns what remains to be set when they are
// let go.
func (b *builder) resources() ([]ready, error) {
	var all []ready
	restored, inherited := map[uint64]bool{}, task.NewInherited()
	for _, t := range b.model.Tasks {
		if len(t.Threads) == 0 {
			continue
		}
		threads := make([]*task.Restorer, len(t.Threads))
		for i, th := range t.Threads {
			threads[i] = &task.Restorer{PID: t.PID, TID: th.TID, WasTID: b.newIDs.Was(th.TID), Puppet: b.puppets[th.TID], Open: b.files.Open, Note: b.note, Cgroups: b.cgroups, Inherited: inherited,
				Auxv: b.spaces[th.Refs.MM].MovedVDSO}
		}
		settle := func() error {
			for _, r := range slices.Backward(threads) {
				if err := r.Make(); err != nil {
					return err
				}
			}
			return nil
		}
		for _, r := range threads {
			r.Settle = settle
		}
		for i := range task.Resources {
			if err := b.resource(&task.Resources[i], t, threads, restored); err != nil {
				return nil, err
			}
		}
		if err := settle(); err != nil {
			return nil, err
		}
		if t.Headless() {
			if err := b.endFirst(t, threads[0].Final.Mask); err != nil {
				return nil, err
			}
			threads = threads[1:]
		}
		for _, r := range threads {
			all = append(all, ready{r.Puppet, &r.Final})
		}
	}
	return all, nil
}

// endFirst ends the first thread of a process, while others will go on. By then it has set
// all that belongs to the process; but its children have no parent-death signal yet, for its
// end would be the death of their parent to them.
func (b *builder) endFirst(t *judge.Task, mask uint64) error {
	err := b.puppets[t.PID].EndFirst(unix.WaitStatus(t.Threads[0].Status), mask)
	delete(b.puppets, t.PID)
	if t.Parent == nil {
		b.headless = t.PID
	}
	return err
}

// resource restores one kind of resource in the threads of a process, in the first
// thread last.
func (b *builder) resource(res *task.Resource, t *judge.Task, threads []*task.Restorer, restored map[uint64]bool) error {
	if res.Restore == nil {
		return nil
	}
	settled := !res.Settled
	for i, r := range slices.Backward(threads) {
		rec := b.resourceOf(res, t, i, restored)
		if rec == nil {
			continue
		}
		if !settled {
			if err := r.Settle(); err != nil {
				return err
			}
			settled = true
		}
		if err := res.Restore(r, rec); err != nil {
			return err
		}
	}
	return nil
}

// resourceOf returns the record from which to restore a resource in thread i of a
// process, or nil. restored are the objects that were restored in other threads.
func (b *builder) resourceOf(res *task.Resource, t *judge.Task, i int, restored map[uint64]bool) *stream.Record {
	switch res.Scope {
	case task.PerThread:
		return t.Threads[i].Resources[res.Type]
	case task.PerProcess:
		if i == 0 {
			return t.Resources[res.Type]
		}
	case task.Shared:
		ref := refOf(&t.Threads[i].Refs, res.Type)
		if !restored[ref] {
			restored[ref] = true
			return b.model.Defined[ref]
		}
	}
	return nil
}

// restoreLast restores what must wait until everything else is restored, see
// task.Resource. The function it returns takes that back.
func (b *builder) restoreLast() (undo func() error, err error) {
	var undos []func() error
	undo = func() error {
		var errs []error
		for _, u := range undos {
			errs = append(errs, u())
		}
		return errors.Join(errs...)
	}
	restored := map[uint64]bool{}
	for _, t := range b.model.Tasks {
		for i, th := range t.Threads {
			tid := th.TID
			if th.Ended {
				tid = t.Living()[0].TID
			}
			for k := range task.Resources {
				res := &task.Resources[k]
				if res.Last == nil || th.Ended && res.Scope != task.PerProcess {
					continue
				}
				rec := b.resourceOf(res, t, i, restored)
				if rec == nil {
					continue
				}
				u, err := res.Last(&task.Restorer{PID: t.PID, TID: tid, Puppet: b.puppets[tid], Note: b.note}, rec)
				if err != nil {
					return nil, errors.Join(err, undo())
				}
				undos = append(undos, u)
			}
		}
	}
	return undo, nil
}

// refOf returns a thread's reference to an object of a type.
func refOf(r *record.ThreadRefs, t record.Type) uint64 {
	for _, k := range task.Cloned {
		if k.Type == t {
			return *k.Ref(r)
		}
	}
	return 0
}

// prepare brings every thread to the point where it only has to be let go.
func (b *builder) prepare(all []ready) error {
	for _, r := range all { // does something once for each table
		if err := r.puppet.ClosePidfd(); err != nil {
			return err
		}
	}
	left := map[uint64]int{} // how many threads of an address space can still make calls
	for _, t := range b.model.Tasks {
		left[t.Refs().MM] += len(t.Living())
	}
	ready := map[int][]ready{}
	for _, r := range all {
		pid := r.puppet.Tracee().PID
		ready[pid] = append(ready[pid], r)
	}
	takeBack, err := b.restoreLast()
	if err != nil {
		return err
	}
	one := func(t *judge.Task) error {
		for _, r := range ready[t.PID] {
			ref := b.model.ByTID[r.puppet.Tracee().TID].Refs.MM
			left[ref]--
			if err := b.prepareThread(r, left[ref] == 0); err != nil {
				return err
			}
		}
		return nil
	}
	// A child is stopped while its parent can still make calls.
	for _, t := range slices.Backward(b.model.Tasks) {
		if t.StopSig == 0 || t.Zombie {
			continue
		}
		if err := one(t); err != nil {
			return errors.Join(err, takeBack())
		}
		if err := b.stop(t, ready[t.PID]); err != nil {
			return errors.Join(err, takeBack())
		}
	}
	for _, t := range b.model.Tasks {
		if t.StopSig == 0 && !t.Zombie {
			if err := one(t); err != nil {
				return errors.Join(err, takeBack())
			}
		}
	}
	return nil
}

// prepareThread makes the last calls of a thread. The last thread of an address space
// also unmaps our own pages there.
func (b *builder) prepareThread(r ready, last bool) error {
	if tracee.HasTiles(r.final.XState) {
		if err := r.puppet.MakeTiles(); err != nil {
			return err
		}
	}
	// This must be the last call, because the kernel keeps what is needed to go on
	// with it.
	if r.final.Wait != nil {
		if err := r.puppet.Resume(r.final.Wait, r.final.Regs); err != nil {
			return err
		}
	}
	if last {
		if err := r.puppet.Leave(); err != nil {
			return err
		}
	}
	xstate := tracee.FitXState(r.final.XState, b.xarea.size, b.xarea.components)
	return r.puppet.Prepare(r.final.Regs, xstate, r.final.Mask, r.final.Wait != nil)
}

// stopTries is how often a process is stopped, where somebody's SIGCONT undoes it.
const stopTries = 4096

// stop stops a process that had been stopped. Its parent learns of that only if the
// stop was not yet reported to it before.
func (b *builder) stop(t *judge.Task, threads []ready) error {
	var parent *puppet.Puppet
	if t.Parent != nil {
		parent = b.puppets[t.Parent.Living()[0].TID]
	}
	pending := true
	var err error
	if parent != nil {
		if pending, err = task.ChildSignalPending(parent.Tracee()); err != nil {
			return err
		}
		if err := parent.Tracee().SetSignalMask(^uint64(0)); err != nil {
			return err
		}
	}
	tracees := make([]*tracee.Tracee, len(threads))
	for i, r := range threads {
		tracees[i] = r.puppet.Tracee()
	}
	sig, taken := task.StopSignal(t.StopSig), false
	for range stopTries {
		if taken, err = tracee.GroupStop(tracees, sig, threads[0].final.Mask); taken || err != nil {
			break
		}
		sig = unix.SIGSTOP
	}
	if err == nil && !taken {
		err = fmt.Errorf("pid %d: it can't be stopped", t.PID)
	}
	if err != nil || parent == nil {
		return err
	}
	return task.ConsumeStop(parent, t.PID, pending, t.StopTold)
}

// release lets all threads run. None of them runs before the last one has lost
// PTRACE_O_EXITKILL.
func (b *builder) release(k keeper, all []ready) error {
	if err := k.loosen(); err != nil {
		return err
	}
	for _, r := range all {
		if err := r.puppet.Tracee().LetGo(); err != nil {
			return err
		}
	}
	if err := k.leave(); err != nil {
		return err
	}
	b.files.Freed()
	if b.model.IsInit() {
		// The tree sees us, and we may have what it lacks: when its first instruction runs, we
		// have none left to run, because the kernel lets go all that we trace when we end.
		return nil
	}
	var errs []error
	for _, r := range all {
		t := r.puppet.Tracee()
		switch err := t.Detach(0); {
		case errors.Is(err, tracee.ErrDead):
			b.ended(t.TID)
		default:
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return errors.Join(err, k.loosen()) // they are killed, so it has not run
	}
	return nil
}

// ended is for a thread that was ended by another, which was already running, before
// it was let go itself: its parent is notified only when we, its tracer, have waited
// for it. The root is waited for elsewhere.
func (b *builder) ended(tid int) {
	if tid == b.model.Tasks[0].PID {
		return
	}
	go func() {
		for {
			if _, err := unix.Wait4(tid, nil, unix.WALL, nil); err != unix.EINTR {
				return
			}
		}
	}()
}

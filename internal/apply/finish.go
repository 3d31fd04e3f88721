package apply

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/judge"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// ready is a thread with all it needs to run.
type ready struct {
	puppet *tracee.Puppet
	final  *task.Final
}

// resources gives all threads what is neither memory nor descriptors, and
// returns what each is to be let go with. It undoes what was done to make them.
func (b *builder) resources() ([]ready, error) {
	var all []ready
	restored, inherited := map[uint64]bool{}, task.NewInherited()
	for _, t := range b.model.Tasks {
		if len(t.Threads) == 0 {
			continue
		}
		threads := make([]*task.Restorer, len(t.Threads))
		for i, th := range t.Threads {
			threads[i] = &task.Restorer{PID: t.PID, TID: th.TID, Puppet: b.puppets[th.TID], Open: b.files.Open, Note: b.note, Cgroups: b.cgroups, Inherited: inherited}
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
		for _, r := range threads {
			all = append(all, ready{r.Puppet, &r.Final})
		}
	}
	return all, nil
}

// resource restores one kind of resource in the threads of a process, the first
// of them last.
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

// resourceOf returns the record to restore a resource from in a process's thread
// i, nil for none. restored are the objects that others have restored.
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

// lastly restores what must wait until all else stands, see task.Resource. What it did it takes back
// with the function it returns.
func (b *builder) lastly() (undo func() error, err error) {
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
		for i := range t.Threads {
			for k := range task.Resources {
				res := &task.Resources[k]
				if res.Last == nil {
					continue
				}
				rec := b.resourceOf(res, t, i, restored)
				if rec == nil {
					continue
				}
				tid := t.Threads[i].TID
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

// prepare brings every thread to where it only has to be let go.
func (b *builder) prepare(all []ready) error {
	for _, r := range all { // once for each table
		if err := r.puppet.ForgetUs(); err != nil {
			return err
		}
	}
	left := map[uint64]int{} // threads of an address space that can make calls
	for _, t := range b.model.Tasks {
		left[t.Refs().MM] += len(t.Threads)
	}
	ready := map[int][]ready{}
	for _, r := range all {
		pid := r.puppet.Tracee().PID
		ready[pid] = append(ready[pid], r)
	}
	takeBack, err := b.lastly()
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
	// A child stops while its parent can still make calls.
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

// prepareThread makes the last calls of a thread; of the last one of its address
// space they leave nothing of ours in it.
func (b *builder) prepareThread(r ready, last bool) error {
	if tracee.HasTiles(r.final.XState) {
		if err := r.puppet.MakeTiles(); err != nil {
			return err
		}
	}
	// The last call of each, for the kernel keeps what it was about.
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
	xstate := fitXState(r.final.XState, b.xstateBytes)
	return r.puppet.Prepare(r.final.Regs, xstate, r.final.Mask, r.final.Wait != nil)
}

// stopTries is how often a process is stopped, where somebody's SIGCONT undoes it.
const stopTries = 64

// stop stops a process that had been stopped, and has its parent know of that
// what it knew before.
func (b *builder) stop(t *judge.Task, threads []ready) error {
	parent := b.puppets[t.PPID] // nil of the root
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

// release lets all threads run at once. Between the first and the last of the
// loosening no task runs.
func (b *builder) release(all []ready) error {
	for _, r := range all {
		if err := r.puppet.Tracee().LetGo(); err != nil {
			return err
		}
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
	return errors.Join(errs...)
}

// ended is for a thread that another, which ran already, ended before it was let
// go itself: its parent hears of that when we, its tracer, have waited for it.
// The root is ours to wait for anyway.
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

// fitXState brings an xsave area to the size it has here. What is cut off or
// added belongs to components that are not in use.
func fitXState(xstate []byte, size int) []byte {
	if len(xstate) == 0 {
		return nil
	}
	fitted := make([]byte, size)
	copy(fitted, xstate)
	return fitted
}

package apply

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"ckpt/internal/memory"
	"ckpt/internal/proc"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
	"ckpt/stream"
)

// Refused is why a stream can't be restored here: everything found.
type Refused struct{ Reasons []error }

func (r *Refused) Error() string { return errors.Join(r.Reasons...).Error() }

// Unwrap returns the reasons.
func (r *Refused) Unwrap() []error { return r.Reasons }

// needed are the resources a task can't do without.
var needed = []stream.Type{stream.TypeCreds, stream.TypeLimits, stream.TypeSched, stream.TypeProcAttr, stream.TypePrctl,
	stream.TypeSignals, stream.TypeRegs, stream.TypeUserPtrs}

const maxPID = 1 << 22 // PID_MAX_LIMIT of linux/threads.h

// check judges the whole description before anything is made, and plans.
func (b *builder) check(o *Options) error {
	var reasons []error
	add := func(errs ...error) { reasons = append(reasons, errs...) }
	m := b.model
	add(checkOrigin(&m.header)...)
	if len(m.tasks) == 0 || m.tasks[0].Zombie {
		return &Refused{append(reasons, errors.New("the image holds no process to restore"))}
	}
	for i, t := range m.tasks {
		add(checkTask(t)...)
		add(task.CheckCgroups(t.resources[stream.TypeCgroups], b.cgroups)...)
		if ref := t.refs().MM; ref != 0 {
			if _, ok := b.owners[ref]; !ok {
				b.owners[ref] = i
			}
		}
	}
	for _, s := range m.spaces {
		add(memory.Check(s.vmas)...)
	}
	for _, rec := range m.objects {
		if r := task.Find(rec.Type); r != nil && r.Check != nil {
			add(r.Check(rec)...)
		}
		if k := memory.FindObject(rec.Type); k != nil {
			add(k.Check(rec)...)
		}
	}
	var fds []stream.FD
	for _, t := range m.tables {
		fds = append(fds, t.fds...)
	}
	slices.SortFunc(fds, func(x, y stream.FD) int { return cmp.Or(cmp.Compare(x.Refs.Of, y.Refs.Of), x.FD-y.FD) })
	add(b.files.Check(m.objects, fds)...)
	if len(reasons) > 0 {
		return &Refused{reasons}
	}
	b.mapOutside(o)
	b.plan = makePlan(m)
	add(b.plan.errs...)
	for _, pid := range b.plan.helpers {
		add(pidTaken(pid)...)
	}
	if len(reasons) > 0 {
		return &Refused{reasons}
	}
	return nil
}

// checkTask judges a process and its threads.
func checkTask(t *taskModel) (errs []error) {
	check := func(id int) {
		if id < 2 || id > maxPID {
			errs = append(errs, fmt.Errorf("%w: process id %d", stream.ErrCorrupt, id))
		} else {
			errs = append(errs, pidTaken(id)...)
		}
	}
	check(t.PID)
	if t.PGID < 0 || t.PGID > maxPID || t.SID < 0 || t.SID > maxPID || t.ExitSignal < 0 || t.ExitSignal > 64 {
		errs = append(errs, fmt.Errorf("%w: pid %d in session %d, group %d, with exit signal %d", stream.ErrCorrupt, t.PID, t.SID, t.PGID, t.ExitSignal))
	}
	if t.Zombie {
		return errs
	}
	if len(t.threads) == 0 {
		return append(errs, fmt.Errorf("%w: pid %d (%s) has no THREAD record", stream.ErrCorrupt, t.PID, t.Comm))
	}
	for _, th := range t.threads {
		if th.TID != t.PID {
			check(th.TID)
		}
		for _, typ := range needed {
			r := task.Find(typ)
			if r.Scope == task.PerThread && th.resources[typ] == nil || r.Scope == task.PerProcess && t.resources[typ] == nil {
				errs = append(errs, fmt.Errorf("thread %d of pid %d (%s) has no %v record", th.TID, t.PID, t.Comm, typ))
			}
		}
		for _, rec := range th.resources {
			if r := task.Find(rec.Type); r.Check != nil {
				errs = append(errs, r.Check(rec)...)
			}
		}
	}
	for _, rec := range t.resources {
		if r := task.Find(rec.Type); r.Check != nil {
			errs = append(errs, r.Check(rec)...)
		}
	}
	return errs
}

// checkOrigin compares the system the image was made on with this one.
func checkOrigin(h *stream.Header) []error {
	var errs []error
	if h.Arch != runtime.GOARCH {
		errs = append(errs, fmt.Errorf("the image is of a %s system, this is %s", h.Arch, runtime.GOARCH))
	}
	if h.PageSize != int64(os.Getpagesize()) {
		errs = append(errs, fmt.Errorf("the image has pages of %d bytes, this system of %d", h.PageSize, os.Getpagesize()))
	}
	text, err := tracee.VDSO()
	if err != nil {
		return append(errs, err)
	}
	if sum := sha256.Sum256(text); len(h.VDSO) > 0 && !bytes.Equal(sum[:], h.VDSO) {
		now, _ := proc.KernelRelease()
		errs = append(errs, fmt.Errorf("this kernel (%s) brings other code into each process (vdso) than the image's (%s); restore it on that kernel", now, h.Kernel))
	}
	return errs
}

// reapTime is how long a parent is given to wait for a process that has ended.
const reapTime = 2 * time.Second

// pidTaken says who has a process or thread id that is needed.
func pidTaken(pid int) []error {
	stat, err := proc.ReadStat(pid)
	// One that was killed just now will be waited for any moment.
	for begin := time.Now(); err == nil && (stat.State == 'Z' || stat.State == 'X') && time.Since(begin) < reapTime; {
		time.Sleep(time.Millisecond)
		stat, err = proc.ReadStat(pid)
	}
	if err != nil {
		return nil // the kernel will tell for sure
	}
	what := fmt.Sprintf("state %c, parent %d", stat.State, stat.PPID)
	if stat.State == 'Z' {
		what = fmt.Sprintf("ended already, but its parent %d has not waited for it", stat.PPID)
	}
	return []error{fmt.Errorf("process id %d is in use by %s (%s): stop it first", pid, stat.Comm, what)}
}

// checkCPU compares the extended registers in use with what this CPU has, as
// seen in the stub, and fits their area to this kernel's size.
func checkCPU(h *stream.Header, stub *tracee.Puppet) error {
	xstate, err := stub.Tracee().XState()
	if err != nil {
		return err
	}
	if enabled, _ := tracee.XFeatures(xstate); h.XFeatures&^enabled != 0 {
		return &Refused{[]error{fmt.Errorf("the program uses CPU registers this machine lacks (xsave components %#x): restore it on a CPU with at least the features of the first", h.XFeatures&^enabled)}}
	}
	return nil
}

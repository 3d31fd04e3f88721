package apply

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"

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
var needed = []stream.Type{stream.TypeMM, stream.TypeFS, stream.TypeCreds, stream.TypeLimits, stream.TypeSched,
	stream.TypeProcAttr, stream.TypePrctl, stream.TypeSigactions, stream.TypeSignals, stream.TypeRegs, stream.TypeUserPtrs}

// check judges the whole description before anything is made.
func (b *builder) check() error {
	var reasons []error
	add := func(errs ...error) { reasons = append(reasons, errs...) }
	m := b.model
	add(checkOrigin(&m.header)...)
	if len(m.tasks) != 1 {
		add(fmt.Errorf("the image holds %d processes, and this version restores one", len(m.tasks)))
		return &Refused{reasons}
	}
	t := m.tasks[0]
	for _, typ := range needed {
		if t.resources[typ] == nil {
			add(fmt.Errorf("pid %d (%s) has no %v record", t.PID, t.Comm, typ))
		}
	}
	if t.PID < 2 || t.PID > 1<<22 {
		add(fmt.Errorf("%w: process id %d", stream.ErrCorrupt, t.PID))
	} else {
		add(pidTaken(t.PID)...)
	}
	slices.SortFunc(t.vmas, func(x, y stream.VMA) int {
		if x.Start < y.Start {
			return -1
		}
		return 1
	})
	add(memory.Check(t.vmas)...)
	for _, rec := range t.resources {
		if r := task.Find(rec.Type); r.Check != nil {
			add(r.Check(rec)...)
		}
	}
	add(task.CheckCgroups(t.resources[stream.TypeCgroups], b.cgroups)...)
	slices.SortFunc(t.fds, func(x, y stream.FD) int { return x.FD - y.FD })
	add(b.files.Check(m.objects, t.fds)...)
	if len(reasons) > 0 {
		return &Refused{reasons}
	}
	return nil
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

// pidTaken says who has a process or thread id that is needed.
func pidTaken(pid int) []error {
	stat, err := proc.ReadStat(pid)
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

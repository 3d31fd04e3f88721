package collect

import (
	"ckpt/internal/kcmp"
	"ckpt/internal/proc"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
	"ckpt/stream"
)

const kindFiles = int(kcmp.Files)

// shared describes what a thread may share with others and returns its
// references. What it shares with the first thread of its process, or that with
// its parent, is not described again; all other sharing is found by ckpt-dedup.
func (d *description) shared(p *process, t *tracee.Tracee, c *task.Collector) (stream.ThreadRefs, error) {
	r := stream.ThreadRefs{}
	near, have := p.pid, &d.about[p].refs
	if t == p.threads[0] {
		near, have = 0, &stream.ThreadRefs{}
		if p.parent != nil {
			near, have = p.parent.pid, &d.about[p.parent].refs
		}
	}
	same := func(kind kcmp.Type) (bool, error) {
		if near == 0 {
			return false, nil
		}
		if near == p.pid && (kind == kcmp.VM || kind == kcmp.Sighand) {
			return true, nil // of all threads
		}
		o, err := kcmp.Compare(t.TID, near, kind, 0, 0)
		return o == kcmp.Equal, err
	}
	for _, s := range []struct {
		kind     kcmp.Type
		ref, had *uint64
		describe func() (uint64, error)
	}{
		{kcmp.VM, &r.MM, &have.MM, func() (uint64, error) { return d.mm(p, c) }},
		{kcmp.Sighand, &r.Sighand, &have.Sighand, func() (uint64, error) { return object(c, stream.TypeSigactions) }},
		{kcmp.FS, &r.FS, &have.FS, func() (uint64, error) { return object(c, stream.TypeFS) }},
		{kcmp.Files, &r.Files, &have.Files, func() (uint64, error) {
			id := d.newID()
			return id, d.descriptors(p, t, id)
		}},
		{kcmp.IO, &r.IO, &have.IO, func() (uint64, error) { return d.ifAny(kcmp.IO, stream.TypeIOCtx, t) }},
		{kcmp.SysVSem, &r.SysVSem, &have.SysVSem, func() (uint64, error) { return d.undoList(t, c) }},
	} {
		equal, err := same(s.kind)
		if err != nil {
			return r, err
		}
		if equal {
			*s.ref = *s.had
			if s.kind == kcmp.VM && t == p.threads[0] {
				d.about[p].pages = d.about[p.parent].pages
			}
			continue
		}
		if *s.ref, err = s.describe(); err != nil {
			return r, err
		}
	}
	return r, nil
}

// mm describes an address space with its mappings.
func (d *description) mm(p *process, c *task.Collector) (uint64, error) {
	id, err := object(c, stream.TypeMM)
	if err != nil {
		return 0, err
	}
	return id, d.addressSpace(p, id)
}

// object has a shared resource described under a new number.
func object(c *task.Collector, t stream.Type) (uint64, error) {
	c.ID = c.NewID()
	if c.Loan == nil { // a blocker stands in the way
		return c.ID, nil
	}
	return c.ID, task.Find(t).Collect(c)
}

// ifAny emits an object that not every task has.
func (d *description) ifAny(kind kcmp.Type, t stream.Type, th *tracee.Tracee) (uint64, error) {
	if has, err := d.has(kind, th); err != nil || !has {
		return 0, err
	}
	id := d.newID()
	return id, d.emit(t, &stream.IOCtx{Object: kcmpObject(id, int(kind), th.TID), PID: th.TID})
}

// undoList describes a semaphore undo list, if the thread has one.
func (d *description) undoList(t *tracee.Tracee, c *task.Collector) (uint64, error) {
	if has, err := d.has(kcmp.SysVSem, t); err != nil || !has {
		return 0, err
	}
	return object(c, stream.TypeSemUndo)
}

// has reports whether a thread has what not every task has. Of two that have none
// kcmp(2) says that they are equal, so it is compared with one that has none for
// sure: not with us, for Go's threads share an undo list.
func (d *description) has(kind kcmp.Type, th *tracee.Tracee) (bool, error) {
	blank, err := d.blankTask()
	if err != nil {
		return false, err
	}
	o, err := kcmp.Compare(th.TID, blank, kind, 0, 0)
	return o != kcmp.Equal, err
}

// kthreadd is the kernel's thread that makes the others. It neither reads files
// nor uses semaphores.
const kthreadd = 2

// blankTask returns a task that has neither I/O context nor undo list: kthreadd,
// and where that is not to be seen, in a pid namespace of our own, or this user may
// not compare with it, a stub.
func (d *description) blankTask() (int, error) {
	if d.blank != 0 {
		return d.blank, nil
	}
	if stat, err := proc.ReadStat(kthreadd); err == nil && proc.IsKernelThread(stat) {
		if _, err := kcmp.Compare(ownPID(), kthreadd, kcmp.IO, 0, 0); err == nil {
			d.blank = kthreadd
			return d.blank, nil
		}
	}
	stub, err := tracee.StartStub(false)
	if err != nil {
		return 0, err
	}
	d.blank, d.stub = stub.Tracee().TID, stub
	return d.blank, nil
}

// endStub ends what blankTask may have started.
func (d *description) endStub() error {
	if d.stub == nil {
		return nil
	}
	defer func() { d.blank, d.stub = 0, nil }()
	return d.stub.Tracee().Kill()
}

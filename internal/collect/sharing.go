package collect

import (
	"ckpt/internal/kcmp"
	"ckpt/internal/proc"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

const kindFiles = int(kcmp.Files)

// shared describes what a thread may share with others and returns its
// references. What it shares with the first thread of its process, or that with
// its parent, is not described again; all other sharing is found by ckpt-dedup.
func (d *description) shared(p *process, t *tracee.Tracee, c *task.Collector) (record.ThreadRefs, error) {
	r := record.ThreadRefs{}
	near, have := p.pid, &d.about[p].refs
	if t == p.threads[0] {
		near, have = 0, &record.ThreadRefs{}
		if p.parent != nil {
			near, have = p.parent.pid, &d.about[p.parent].refs
		}
	}
	for i := range task.Cloned {
		k := &task.Cloned[i]
		equal := near == p.pid && (k.Kcmp == kcmp.VM || k.Kcmp == kcmp.Sighand) // of all threads
		if near != 0 && !equal {
			o, err := kcmp.Compare(t.TID, near, k.Kcmp, 0, 0)
			if err != nil {
				return r, err
			}
			equal = o == kcmp.Equal
		}
		if equal {
			*k.Ref(&r) = *k.Ref(have)
			if k.Kcmp == kcmp.VM && t == p.threads[0] {
				d.about[p].pages = d.about[p.parent].pages
			}
			continue
		}
		if k.Optional {
			if has, err := d.has(k.Kcmp, t); err != nil {
				return r, err
			} else if !has {
				continue
			}
		}
		var err error
		if *k.Ref(&r), err = d.object(k.Type, p, t, c); err != nil {
			return r, err
		}
	}
	return r, nil
}

// object describes what a thread has and does not share, and returns its number.
func (d *description) object(typ record.Type, p *process, t *tracee.Tracee, c *task.Collector) (id uint64, err error) {
	switch typ {
	case record.TypeFDTable:
		id = d.newID()
		return id, d.descriptors(p, t, id)
	case record.TypeMM:
		if id, err = resource(typ, c); err != nil {
			return 0, err
		}
		return id, d.addressSpace(p, id)
	}
	return resource(typ, c)
}

// resource has a shared resource described under a new number.
func resource(typ record.Type, c *task.Collector) (uint64, error) {
	c.ID = c.NewID()
	if c.Loan == nil { // a blocker stands in the way
		return c.ID, nil
	}
	return c.ID, task.Find(typ).Collect(c)
}

// has reports whether a thread has what not every task has. Of two that have none
// kcmp(2) says that they are equal, so it is compared with one that has none for
// sure: not with us, for Go's threads share an undo list.
func (d *description) has(kind kcmp.Type, th *tracee.Tracee) (bool, error) {
	o, err := kcmp.Compare(th.TID, d.blank, kind, 0, 0)
	return o != kcmp.Equal, err
}

// kthreadd is the kernel's thread that makes the others. It neither reads files
// nor uses semaphores.
const kthreadd = 2

// findBlank finds a task that has neither I/O context nor undo list: kthreadd, and
// where that is not to be seen, in a pid namespace of our own, or this user may not
// compare with it, a stub that it starts.
func (d *description) findBlank() error {
	if stat, err := proc.ReadStat(kthreadd); err == nil && proc.IsKernelThread(stat) {
		if _, err := kcmp.Compare(ownPID(), kthreadd, kcmp.IO, 0, 0); err == nil {
			d.blank = kthreadd
			return nil
		}
	}
	stub, err := tracee.StartStub(false)
	if err != nil {
		return err
	}
	d.blank, d.stub = stub.Tracee().TID, stub
	return nil
}

// endStub ends what findBlank may have started.
func (d *description) endStub() error {
	if d.stub == nil {
		return nil
	}
	defer func() { d.blank, d.stub = 0, nil }()
	return d.stub.Tracee().Kill()
}

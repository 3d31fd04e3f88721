package collect

import (
	"ckpt/internal/kcmp"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

const kindFiles = int(kcmp.Files)

// shared describes the objects of a thread that others may share, and returns its
// references. An object that it shares with the first thread of its process is not
// described again, nor one that the first thread shares with its parent. All other
// sharing is found by ckpt-dedup.
func (d *description) shared(p *process, t *tracee.Tracee, c *task.Collector) (record.ThreadRefs, error) {
	r := record.ThreadRefs{}
	other, have := p.at(), &d.about[p].refs
	if t == p.threads[0] {
		other, have = 0, &record.ThreadRefs{}
		if p.parent != nil {
			other, have = p.parent.at(), &d.about[p.parent].refs
		}
	}
	for i := range task.Cloned {
		k := &task.Cloned[i]
		equal := t != p.threads[0] && (k.Kcmp == kcmp.VM || k.Kcmp == kcmp.Sighand) // all threads share those
		if other != 0 && !equal {
			o, err := kcmp.Compare(t.TID, other, k.Kcmp, 0, 0)
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

// object describes an object of a thread, and returns its number.
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

// resource describes a shared resource under a new number.
func resource(typ record.Type, c *task.Collector) (uint64, error) {
	c.ID = c.NewID()
	if c.Loan == nil { // a blocker stands in the way
		return c.ID, nil
	}
	return c.ID, task.Find(typ).Collect(c)
}

// has reports whether a thread has an object that not every task has. For two tasks
// without one, kcmp(2) says that they are equal, so the thread is compared with a task
// that certainly has none; not with any of us, for Go's threads share an undo list.
func (d *description) has(kind kcmp.Type, th *tracee.Tracee) (bool, error) {
	o, err := kcmp.Compare(th.TID, d.blank, kind, 0, 0)
	return o != kcmp.Equal, err
}

// kthreadd is the kernel thread that makes the others. It neither reads files nor uses
// semaphores.
const kthreadd = 2

// findBlank finds a task that has neither I/O context nor undo list: kthreadd; or a thread of
// ours, if kthreadd can't be seen from our pid namespace, or this user may not compare with
// it. A process of ours would be left to the target, if that is the init of our pid namespace,
// when we are killed.
func (d *description) findBlank() (err error) {
	if stat, err := proc.ReadStat(kthreadd); err == nil && proc.IsKernelThread(stat) {
		if _, err := kcmp.Compare(ownPID(), kthreadd, kcmp.IO, 0, 0); err == nil {
			d.blank = kthreadd
			return nil
		}
	}
	d.blank, d.endBlank, err = sys.BlankThread()
	return err
}

package task

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/sys"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// sched: policy, nice value, CPU affinity, I/O priority and NUMA policy of each
// thread. It is restored when all threads and children exist, because a task under
// SCHED_DEADLINE can't make any; and affinity before policy, because such a task
// must be allowed to run on all CPUs.
var sched = row[record.Sched]{
	Type:     record.TypeSched,
	Required: true,
	First:    true,
	Asks:     func(*Collector) []tracee.Query { return []tracee.Query{tracee.ThreadMemPolicy()} },
	Collect: func(c *Collector) error {
		attr, affinity, err := readSched(c.TID)
		if err != nil {
			return err
		}
		prio, err := sys.IOPrio(c.TID)
		if err != nil {
			return fmt.Errorf("pid %d: %w", c.TID, err)
		}
		rec := record.Sched{PID: c.PID, TID: c.TID, Attr: attr, Affinity: affinity, IOPrio: prio}
		if c.Facts.ended() {
			return c.Emit(record.TypeSched, &rec)
		}
		a, err := c.answer(tracee.ThreadMemPolicy())
		if err != nil {
			return err
		}
		if rec.NUMA, err = c.Loan.Tracee().MemPolicy(a); err != nil {
			return err
		}
		return c.Emit(record.TypeSched, &rec)
	},
	Check: func(s *record.Sched) []error {
		_, _, err := decodeSched(s)
		err = errors.Join(err, tracee.CheckMemPolicy(s.NUMA))
		if err != nil {
			return []error{err}
		}
		return nil
	},
	Here:    schedHere,
	Restore: restoreSched,
	Settled: true, // it moves the puppets away from our CPU, and limits follow it
}.resource()

func readSched(tid int) (attr, affinity []byte, err error) {
	a, err := unix.SchedGetAttr(tid, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("pid %d: scheduling attributes: %w", tid, err)
	}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(tid, &set); err != nil {
		return nil, nil, fmt.Errorf("pid %d: CPU affinity: %w", tid, err)
	}
	attr, err = binary.Append(nil, binary.LittleEndian, a)
	if err != nil {
		return nil, nil, err
	}
	for _, w := range set {
		affinity = binary.LittleEndian.AppendUint64(affinity, uint64(w))
	}
	return attr, bytes.TrimRight(affinity, "\x00"), nil
}

func decodeSched(s *record.Sched) (*unix.SchedAttr, *unix.CPUSet, error) {
	a := new(unix.SchedAttr)
	if len(s.Attr) != binary.Size(a) {
		return nil, nil, fmt.Errorf("scheduling attributes of %d bytes, but this system has %d", len(s.Attr), binary.Size(a))
	}
	if _, err := binary.Decode(s.Attr, binary.LittleEndian, a); err != nil {
		return nil, nil, err
	}
	set := new(unix.CPUSet)
	for i, b := range s.Affinity {
		for bit := range 8 {
			if b&(1<<bit) != 0 {
				set.Set(8*i + bit)
			}
		}
	}
	return a, set, nil
}

func restoreSched(r *Restorer, s *record.Sched) error {
	attr, set, err := decodeSched(s)
	if err != nil {
		return err
	}
	if err := r.restoreNUMA(s.NUMA); err != nil {
		return err
	}
	nowAttr, nowSet, err := readSched(s.TID)
	if err != nil {
		return err
	}
	if !bytes.Equal(nowSet, s.Affinity) {
		if err := unix.SchedSetaffinity(s.TID, set); err != nil {
			r.Note("pid %d ran on CPUs that this system does not have; from now on it may use those that ckpt-apply may use", s.TID)
		}
	}
	if !bytes.Equal(nowAttr, s.Attr) {
		if err := unix.SchedSetAttr(s.TID, attr, 0); err != nil {
			return fmt.Errorf("pid %d: set its scheduling: %w", s.TID, err)
		}
	}
	if now, err := sys.IOPrio(s.TID); err != nil || now != s.IOPrio {
		if err := sys.SetIOPrio(s.TID, s.IOPrio); err != nil {
			return fmt.Errorf("pid %d: set its I/O priority: %w", s.TID, err)
		}
	}
	return nil
}

// restoreNUMA sets a thread's memory policy, if it differs from what all puppets
// inherit from ckpt-apply.
func (r *Restorer) restoreNUMA(p *record.MemPolicy) error {
	const name = "numa"
	other, known := r.Inherited.values[name]
	if !known {
		a, err := tracee.Ask(r.Puppet, tracee.ThreadMemPolicy())
		if err != nil {
			return err
		}
		now, err := r.Puppet.Tracee().MemPolicy(a)
		if err != nil {
			return err
		}
		if now != nil {
			other = 1
		}
		r.Inherited.values[name] = other
	}
	if p == nil && other == 0 {
		return nil
	}
	err := tracee.SetThreadMemPolicy(r.Puppet, p)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		r.Note("pid %d took its memory from NUMA nodes that this system does not have; from now on it takes it from any node", r.TID)
		return nil
	}
	return err
}

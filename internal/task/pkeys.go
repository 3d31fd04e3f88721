package task

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/sys"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// Memory protection keys belong to an address space, see pkeys(7). Which one a mapping has
// is of the mapping; which accesses a thread may make is in its registers.

// allPkeys are those that a program can allocate.
const allPkeys = 1<<tracee.Pkeys - 1 - 1

func askPkeys() []tracee.Query {
	var all []tracee.Query
	if sys.HasPkeys() {
		for key := 1; key < tracee.Pkeys; key++ {
			all = append(all, tracee.HasPkey(key))
		}
	}
	return all
}

func (c *Collector) readPkeys(m *record.MM) error {
	for i, q := range askPkeys() {
		a, err := c.answer(q)
		if err != nil {
			return fmt.Errorf("pid %d: protection keys: %w", c.PID, err)
		}
		if a.HasPkey() {
			m.Pkeys |= 1 << (i + 1)
		}
	}
	return nil
}

func pkeysHere(h *Host, m *record.MM) []error {
	if m.Pkeys == 0 || sys.HasPkeys() {
		return nil
	}
	return []error{fmt.Errorf("%s has memory protection keys, which this CPU or this kernel has not", h.Who(m.PID))}
}

// restorePkeys allocates keys: all, because the kernel gives the lowest that is free, and
// those that are not wanted are given back. A key that the kernel has taken can't be.
func (r *Restorer) restorePkeys(m *record.MM) {
	if m.Pkeys == 0 {
		return
	}
	for range tracee.Pkeys {
		r.vector().Add("allocate a protection key", unix.SYS_PKEY_ALLOC, 0, 0).MayFail()
	}
	for key := uint64(1); key < tracee.Pkeys; key++ {
		if m.Pkeys&(1<<key) == 0 {
			r.vector().Add("free a protection key", unix.SYS_PKEY_FREE, key).MayFail()
		}
	}
}

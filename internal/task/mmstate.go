package task

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// What else belongs to an address space: its registrations for membarrier(2), and
// segment descriptors (modify_ldt(2)).

const (
	membarrierGetRegistrations = 1 << 9 // uapi linux/membarrier.h, Linux 6.3
	// membarrierRegistrations are all commands that register a process.
	membarrierRegistrations = 1<<2 | 1<<4 | 1<<6 | 1<<8
)

var getMembarrier = query(0, unix.SYS_MEMBARRIER, membarrierGetRegistrations, 0, 0)

// readMMState fills in the rest of an MM record.
func (c *Collector) readMMState(m *record.MM) error {
	registered, _, err := c.result(getMembarrier)
	switch {
	case err == nil:
		m.Membarrier = registered
	case err != unix.EINVAL && err != unix.ENOSYS: // the kernel can't tell, or has no membarrier
		return fmt.Errorf("pid %d: membarrier registrations: %w", c.PID, err)
	}
	if err := c.readPkeys(m); err != nil {
		return err
	}
	some, err := c.answer(tracee.AnyLDT())
	if err != nil || some.Err != nil || some.Ret == 0 {
		return err
	}
	m.LDT, err = tracee.ReadLDT(c.Loan)
	if errors.Is(err, tracee.ErrTight) {
		c.Block(&tightError{"has segment descriptors (modify_ldt)"})
		return nil
	}
	return err
}

func checkMMState(m *record.MM) (errs []error) {
	if m.Membarrier&^membarrierRegistrations != 0 {
		errs = append(errs, fmt.Errorf("pid %d has registered for membarrier commands that this version does not know (%#x)", m.PID, m.Membarrier))
	}
	errs = append(errs, corruptIf(m.Pkeys&^allPkeys != 0, "pid %d has protection keys %#x", m.PID, m.Pkeys)...)
	if len(m.LDT) > tracee.MaxLDTBytes || len(m.LDT)%8 != 0 {
		errs = append(errs, fmt.Errorf("%w: %d bytes of segment descriptors", stream.ErrCorrupt, len(m.LDT)))
	}
	return errs
}

func (r *Restorer) restoreMMState(m *record.MM) error {
	for cmd := uint64(1); cmd <= membarrierRegistrations; cmd <<= 1 {
		if m.Membarrier&cmd == 0 {
			continue
		}
		r.call("register for membarrier", unix.SYS_MEMBARRIER, cmd, 0, 0)
	}
	r.restorePkeys(m)
	if len(m.LDT) == 0 {
		return nil
	}
	return tracee.WriteLDT(r.Puppet, m.LDT)
}

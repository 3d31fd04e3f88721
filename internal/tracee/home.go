package tracee

import (
	"bytes"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// ComeHome lets a seized thread finish its way home from a Loan whose tracer
// was killed just now, if it is still on it: it may not have run since. What is
// read of the process before would not hold, and the next Loan would overwrite
// the code it runs.
func (t *Tracee) ComeHome(timeout time.Duration) error {
	begin := time.Now()
	for {
		on, err := t.onWayHome()
		if err != nil || !on {
			return err
		}
		if time.Since(begin) > timeout {
			return t.wrap("let it recover from an earlier attempt", ErrTimeout)
		}
		if err := unix.PtraceCont(t.TID, 0); err != nil {
			return t.wrap("continue", err)
		}
		time.Sleep(100 * time.Microsecond)
		if err := t.interrupt(timeout); err != nil {
			return err
		}
	}
}

// onWayHome reports whether the thread stands in the padding of the vdso, where
// only a Loan puts code.
func (t *Tracee) onWayHome() (bool, error) {
	regs, err := t.Regs()
	if err != nil {
		return false, err
	}
	text, err := VDSO()
	if err != nil || len(text) == 0 {
		return false, err
	}
	maps, err := proc.ReadMaps(t.PID)
	if err != nil {
		return false, err
	}
	used := uint64(len(bytes.TrimRight(text, "\x00")))
	for _, m := range maps {
		if m.Name() == "[vdso]" && regs.IP() >= m.Start+used && regs.IP() < m.End {
			return true, nil
		}
	}
	return false, nil
}

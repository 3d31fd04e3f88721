package loan

import (
	"bytes"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/tracee"
)

// Home is the padding of a process's vdso: only the way home of a Loan can be there. The
// zero Home is empty.
type Home struct{ start, end uint64 }

// FindHome finds the Home of a process by its auxiliary vector, see getauxval(3).
func FindHome(auxv []byte) (Home, error) {
	text, err := tracee.VDSO()
	start, _ := tracee.FindVDSO(auxv)
	if err != nil || len(text) == 0 || start == 0 {
		return Home{}, err
	}
	used := uint64(len(bytes.TrimRight(text, "\x00")))
	return Home{start + used, start + uint64(len(text))}, nil
}

// ComeHome lets a seized thread finish its way home from a Loan whose tracer was killed, if
// it is still on that way: it may not have run since. Before that, nothing read about the
// process would be right, and the next Loan would overwrite the code that it runs.
func ComeHome(t *tracee.Tracee, home Home, timeout time.Duration) error {
	begin := time.Now()
	for {
		regs, err := t.Regs()
		if err != nil || regs.IP() < home.start || regs.IP() >= home.end {
			return err
		}
		if time.Since(begin) > timeout {
			return t.Wrap("let it recover from an earlier attempt", tracee.ErrTimeout)
		}
		if err := unix.PtraceCont(t.TID, 0); err != nil {
			return t.Wrap("continue", err)
		}
		time.Sleep(100 * time.Microsecond)
		if err := t.StopAgain(timeout); err != nil {
			return err
		}
	}
}

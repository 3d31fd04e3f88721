package loan

import (
	"bytes"
	"encoding/binary"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/tracee"
)

// Home is the padding of a process's vdso: only the way home of a Loan can be there. The
// zero Home is empty.
type Home struct{ start, end uint64 }

// ownVDSO is read once; the code is the same in all processes.
var ownVDSO = sync.OnceValues(tracee.VDSO)

// FindHome finds the Home of a process by its auxiliary vector, see getauxval(3).
func FindHome(auxv []byte) (Home, error) {
	const sysinfoEHDR = 33 // AT_SYSINFO_EHDR: where the vdso is
	text, err := ownVDSO()
	if err != nil || len(text) == 0 {
		return Home{}, err
	}
	used := uint64(len(bytes.TrimRight(text, "\x00")))
	for ; len(auxv) >= 16; auxv = auxv[16:] {
		if binary.NativeEndian.Uint64(auxv) == sysinfoEHDR {
			start := binary.NativeEndian.Uint64(auxv[8:])
			return Home{start + used, start + uint64(len(text))}, nil
		}
	}
	return Home{}, nil
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

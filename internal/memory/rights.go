package memory

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// Here says what the mappings of an address space take that this kernel has not, or
// this process may not; who names the program.
func Here(own *caps.Process, vmas []record.VMA, who string) []error {
	return append(unknownHere(vmas, who), lockedHere(own, vmas, who)...)
}

// lockedHere: mappings are locked under this process's own limits.
func lockedHere(own *caps.Process, vmas []record.VMA, who string) []error {
	var locked uint64
	for i := range vmas {
		if v := &vmas[i]; has(v, flagLocked) {
			locked += v.End - v.Start
		}
	}
	if locked == 0 {
		return nil
	}
	limits, err := proc.ReadLimits(os.Getpid())
	if err != nil {
		return []error{err}
	}
	if most := limits[unix.RLIMIT_MEMLOCK].Soft; locked > most {
		return own.Need(caps.Of(unix.CAP_IPC_LOCK), who, fmt.Sprintf("lock %d bytes of %%s in memory, more than RLIMIT_MEMLOCK (%d) allows", locked, most))
	}
	return nil
}

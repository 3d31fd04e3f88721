package task

import (
	"os"
	"strconv"

	"ckpt/internal/proc"
)

// setAutogroup sets the nice value of the scheduling group of a process's
// session, see "The autogroup feature" in sched(7).
func (r *Restorer) setAutogroup(nice int) error {
	now, err := proc.ReadAutogroup(r.PID)
	own, ownErr := proc.ReadAutogroup(os.Getpid())
	switch {
	case err != nil || ownErr != nil || now.ID == own.ID:
		r.Note("pid %d does not get back the nice value %d of its session's scheduling group (autogroup), because it has no group of its own here", r.PID, nice)
	case now.Nice != nice:
		return r.writeProc("autogroup", strconv.Itoa(nice))
	}
	return nil
}

package object

import (
	"fmt"

	"ckpt/internal/caps"
	"ckpt/internal/depot"
)

// Restart is what a restart has for all kinds.
type Restart struct {
	Hash  *Hash
	Depot *depot.Depot // where objects are open
	// Own is what this process may do; nil on paper.
	Own *caps.Process
	// Paper: nothing of this system is looked at, nor are decisions asked for.
	Paper bool
	// Who names a process for people.
	Who func(pid int) string
	// Note tells the user of something that is not as it was.
	Note func(format string, args ...any)
}

// Name names a process for people.
func (r *Restart) Name(pid int) string {
	if r.Who != nil {
		return r.Who(pid)
	}
	return fmt.Sprintf("pid %d", pid)
}

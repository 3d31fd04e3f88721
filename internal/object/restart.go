package object

import (
	"fmt"

	"ckpt/internal/caps"
	"ckpt/internal/depot"
)

// Restart is what all kinds share in a restart.
type Restart struct {
	Hash  *Hash
	Depot *depot.Depot // where objects are open
	// Own is what this process may do; nil if Paper is set.
	Own *caps.Process
	// Paper: nothing on this system is looked at, and no decisions are asked for.
	Paper bool
	// OwnIPC: the tree has an IPC namespace of its own, which this process is in if Paper is
	// not set.
	OwnIPC bool
	// Who names a process in messages.
	Who func(pid int) string
	// Note tells the user of something that is not as it was.
	Note func(format string, args ...any)
}

// Name names a process in messages.
func (r *Restart) Name(pid int) string {
	if r.Who != nil {
		return r.Who(pid)
	}
	return fmt.Sprintf("pid %d", pid)
}

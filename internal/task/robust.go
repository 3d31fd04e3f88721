package task

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/loan"
	"ckpt/internal/proc"
)

// When a thread ends, the kernel marks the robust mutexes that it holds
// (FUTEX_OWNER_DIED), see get_robust_list(2). In memory that outlives the tree the
// mark would stay, and be wrong: the restored thread still holds them.

const (
	robustPI    = 1    // bit of an entry: the mutex has priority inheritance
	robustLimit = 2048 // ROBUST_LIST_LIMIT
)

// keepRobust arranges for a thread's list to be emptied before the kill if it leads
// to memory that outlives the process.
func keepRobust(c *Collector, head, length uint64) error {
	if c.Keep == nil || head == 0 {
		return nil
	}
	held, pi, err := robustHeld(c, head)
	switch {
	case err != nil:
		return err
	case pi:
		c.Block(fmt.Errorf("holds a robust mutex with priority inheritance in memory shared with others (thread %d), which would lose it when it ends: use --leave running", c.TID))
	case held:
		c.Keep(Keep{TID: c.TID, Do: func(l *loan.Loan) error {
			return l.CallAndBack(unix.SYS_SET_ROBUST_LIST, []uint64{0, length}, unix.SYS_SET_ROBUST_LIST, []uint64{head, length})
		}})
	}
	return nil
}

// robustHeld walks the list as the kernel would.
func robustHeld(c *Collector, head uint64) (held, pi bool, err error) {
	t := c.Loan.Tracee()
	b := make([]byte, abi.RobustHeadBytes)
	if t.ReadMem(head, b) != nil {
		return false, false, nil // the kernel won't be able to read it, either
	}
	w := abi.Words(b)
	next, offset, pending := w[0], w[1], w[2]
	look := func(entry uint64) {
		if c.Outlives(entry&^robustPI + offset) {
			held = true
			pi = pi || entry&robustPI != 0
		}
	}
	if pending != 0 {
		look(pending)
	}
	for n := 0; next&^robustPI != head && n < robustLimit; n++ {
		look(next)
		b := make([]byte, 8)
		if t.ReadMem(next&^robustPI, b) != nil {
			break
		}
		next = abi.Words(b)[0]
	}
	return held, pi, nil
}

// Outlives reports whether mapped memory outlives the processes that map it: a file
// with a name, or a System V segment.
func Outlives(m *proc.Mapping) bool {
	return m.Shared && m.Inode != 0 && (strings.HasPrefix(m.Path, "/SYSV") || !strings.HasSuffix(m.Path, " (deleted)"))
}

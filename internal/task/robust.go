package task

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/loan"
	"ckpt/internal/proc"
	"ckpt/internal/tracee"
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
	held, pi := robustHeld(c, head)
	switch {
	case pi:
		c.Block(fmt.Errorf("holds a robust mutex with priority inheritance in memory shared with others (thread %d), which would lose it when it ends: use --leave running", c.TID))
	case held:
		c.Keep(Keep{TID: c.TID, Do: func(l *loan.Loan) error {
			return l.CallAndBack(unix.SYS_SET_ROBUST_LIST, []uint64{0, length}, unix.SYS_SET_ROBUST_LIST, []uint64{head, length})
		}})
	}
	return nil
}

// robustHeld reports whether the list leads to memory that outlives the process.
func robustHeld(c *Collector, head uint64) (held, pi bool) {
	walkRobust(c.Loan.Tracee(), head, func(word uint64, isPI bool) {
		if c.Outlives(word) {
			held, pi = true, pi || isPI
		}
	})
	return held, pi
}

// walkRobust walks a list as the kernel would, as far as it can be read, and calls visit
// with the address of each futex word.
func walkRobust(t *tracee.Tracee, head uint64, visit func(word uint64, pi bool)) {
	b := make([]byte, abi.RobustHeadBytes)
	if head == 0 || t.ReadMem(head, b) != nil {
		return
	}
	w := abi.Words(b)
	next, offset, pending := w[0], w[1], w[2]
	look := func(entry uint64) { visit(entry&^robustPI+offset, entry&robustPI != 0) }
	if pending != 0 {
		look(pending)
	}
	for n := 0; next&^robustPI != head && n < robustLimit; n++ {
		look(next)
		b := make([]byte, 8)
		if t.ReadMem(next&^robustPI, b) != nil {
			return
		}
		next = abi.Words(b)[0]
	}
}

// Outlives reports whether mapped memory outlives the processes that map it: a file
// with a name, or a System V segment.
func Outlives(m *proc.Mapping) bool {
	return m.Shared && m.Inode != 0 && (strings.HasPrefix(m.Path, "/SYSV") || !strings.HasSuffix(m.Path, " (deleted)"))
}

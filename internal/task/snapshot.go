package task

import (
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// Notes carries what was found out from one thread of a process to the next.
type Notes struct {
	snapshot      *snapshot
	commonFilters *int
}

// snapshot holds what changes in a process even while all its threads are stopped:
// timers, and the signals they send. It is consistent: all of it was true at one
// moment.
type snapshot struct {
	shared  [][]byte         // the process's pending signals
	own     map[int][][]byte // those of each thread
	itimers []record.Itimer
	timers  []record.Timer
}

// snapshot takes the process's snapshot on the first call, and returns the same
// afterwards. A timer that expires between reading timers and signals would be lost,
// or be there twice, so both are read again until no new signal is pending.
func (c *Collector) snapshot() (*snapshot, error) {
	if c.Notes.snapshot != nil {
		return c.Notes.snapshot, nil
	}
	tids, err := proc.Threads(c.PID)
	if err != nil {
		return nil, err
	}
	tids = slices.DeleteFunc(tids, func(tid int) bool { return c.FactsOf(tid).ended() })
	before, count, err := readPending(c.PID, tids)
	if err != nil {
		return nil, err
	}
	for {
		itimers, timers, err := readClocked(c, before)
		if err != nil {
			return nil, err
		}
		after, n, err := readPending(c.PID, tids)
		if err != nil {
			return nil, err
		}
		if n == count {
			before.itimers, before.timers = itimers, timers
			c.Notes.snapshot = before
			return before, nil
		}
		before, count = after, n
	}
}

// readClocked reads both kinds of timers. before are the signals that were pending.
func readClocked(c *Collector, before *snapshot) ([]record.Itimer, []record.Timer, error) {
	list, err := proc.ReadTimers(c.PID)
	if err != nil {
		return nil, nil, err
	}
	queries := askItimers()
	n := len(queries)
	answers, err := c.Loan.Ask(append(queries, askTimers(list)...))
	if err != nil {
		return nil, nil, err
	}
	itimers, err := itimersOf(c.PID, answers[:n], signalWaits(before.shared, unix.SIGALRM))
	if err != nil {
		return nil, nil, err
	}
	timers, err := timersOf(c.PID, list, answers[n:])
	return itimers, timers, err
}

// readPending reads all pending signals and counts them. We trace every thread of
// the process.
func readPending(pid int, tids []int) (m *snapshot, count int, err error) {
	m = &snapshot{own: make(map[int][][]byte, len(tids))}
	for i, tid := range tids {
		t := &tracee.Tracee{PID: pid, TID: tid}
		if m.own[tid], err = t.PendingSignals(false); err != nil {
			return nil, 0, err
		}
		count += len(m.own[tid])
		if i > 0 {
			continue
		}
		if m.shared, err = t.PendingSignals(true); err != nil {
			return nil, 0, err
		}
		count += len(m.shared)
	}
	return m, count, nil
}

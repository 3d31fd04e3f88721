package task

import (
	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// Notes are kept from one thread of a process to the next.
type Notes struct {
	moment        *moment
	commonFilters *int
}

// moment is what of a process changes by itself while all its threads stand
// still: timers, and the signals they send. All of it was so at one moment.
type moment struct {
	shared  [][]byte         // the process's pending signals
	own     map[int][][]byte // those of each thread
	itimers []record.Itimer
	timers  []record.Timer
}

// theMoment reads it the first time and returns the same afterwards. A timer
// that ends between two readings would be lost, or be there twice, so reading
// is done again until no signal has come meanwhile.
func (c *Collector) theMoment() (*moment, error) {
	if c.Notes.moment != nil {
		return c.Notes.moment, nil
	}
	tids, err := proc.Threads(c.PID)
	if err != nil {
		return nil, err
	}
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
			c.Notes.moment = before
			return before, nil
		}
		before, count = after, n
	}
}

// readClocked reads both kinds of timers. before are the signals that waited then.
func readClocked(c *Collector, before *moment) ([]record.Itimer, []record.Timer, error) {
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

// readPending reads all pending signals and says how many there are. Every
// thread of the process is ours to ask.
func readPending(pid int, tids []int) (m *moment, count int, err error) {
	m = &moment{own: make(map[int][][]byte, len(tids))}
	for _, tid := range tids {
		t := &tracee.Tracee{PID: pid, TID: tid}
		if m.own[tid], err = t.PendingSignals(false); err != nil {
			return nil, 0, err
		}
		count += len(m.own[tid])
		if tid != pid {
			continue
		}
		if m.shared, err = t.PendingSignals(true); err != nil {
			return nil, 0, err
		}
		count += len(m.shared)
	}
	return m, count, nil
}

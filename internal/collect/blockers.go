package collect

import (
	"errors"
	"fmt"
	"strings"

	"ckpt/internal/proc"
)

// Blocker is one thing that stands in the way of a checkpoint.
type Blocker struct {
	PID    int
	Comm   string
	Reason error
}

func (b *Blocker) Error() string { return fmt.Sprintf("pid %d (%s) %v", b.PID, b.Comm, b.Reason) }
func (b *Blocker) Unwrap() error { return b.Reason }

// Refused is why a target can't be saved: everything that stands in the way.
type Refused struct{ Blockers []*Blocker }

func (r *Refused) Error() string {
	lines := make([]string, len(r.Blockers))
	for i, b := range r.Blockers {
		lines[i] = b.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the blockers.
func (r *Refused) Unwrap() []error {
	errs := make([]error, len(r.Blockers))
	for i, b := range r.Blockers {
		errs[i] = b
	}
	return errs
}

// blockers collects everything that stands in the way.
type blockers struct {
	comms map[int]string
	list  []*Blocker
}

func (b *blockers) add(pid int, reason error) {
	if _, ok := b.comms[pid]; !ok {
		if b.comms == nil {
			b.comms = map[int]string{}
		}
		comm, err := proc.ReadComm(pid, pid)
		if err != nil {
			comm = "?"
		}
		b.comms[pid] = comm
	}
	b.list = append(b.list, &Blocker{PID: pid, Comm: b.comms[pid], Reason: reason})
}

func (b *blockers) err() error {
	if len(b.list) == 0 {
		return nil
	}
	return &Refused{b.list}
}

// passes reports whether all that stands in the way may be gone a moment later, when the
// target has run: each reason then says so itself.
func passes(err error) bool {
	var r *Refused
	if !errors.As(err, &r) {
		return false
	}
	for _, b := range r.Blockers {
		var reason interface{ Passes() bool }
		if !errors.As(b.Reason, &reason) || !reason.Passes() {
			return false
		}
	}
	return true
}

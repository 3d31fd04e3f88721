package cli

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Exit statuses. They are part of the interface. After a signal it is 128 and
// the signal's number.
const (
	StatusOK        = 0
	StatusFailed    = 1 // failed, the target is as before
	StatusUsage     = 2
	StatusRefused   = 3 // refused, nothing written
	StatusInput     = 4 // the input is not a valid or complete stream
	StatusChanged   = 5 // failed, and the target was changed or lost
	StatusUndecided = 6 // moved, or not: the other side must be asked; the target stands still
	StatusOwn       = 125
	StatusPipe      = 128 + int(unix.SIGPIPE)
)

// exitError carries an exit status.
type exitError struct {
	status int
	err    error // nil: another filter has told the user
	exact  bool  // also with Own125
}

func (e *exitError) Error() string {
	if e.err == nil {
		return "told elsewhere"
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// Exit returns err with an exit status. A nil err is silent: the cause was told
// by another filter.
func Exit(status int, err error) error { return &exitError{status: status, err: err} }

// ExitExactly is Exit for a status that a command with Own125 has, too.
func ExitExactly(status int, err error) error {
	return &exitError{status: status, err: err, exact: true}
}

// hinted carries what the user can do.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

func (h *hinted) Hint() string { return h.hint }

// WithHint returns err with a hint, which is printed on a line of its own. So
// is what a method Hint() string of any error returns.
func WithHint(err error, hint string) error { return &hinted{err, hint} }

// Passthrough is the error of a command that ran a program to its end: the
// command's exit status is the program's.
type Passthrough struct{ Status int }

func (*Passthrough) Error() string { return "the program ended" }

// statusOf returns the exit status of a failure. A lost target, or one that stands still, goes before
// everything else, then a signal, which explains the rest, and then a given status,
// which explains a broken pipe.
func statusOf(err error) int {
	given := exits(err)
	var sig *Signalled
	for _, s := range given {
		if s == StatusChanged || s == StatusUndecided {
			return s
		}
	}
	switch {
	case errors.As(err, &sig):
		return 128 + int(sig.Signal)
	case len(given) > 0:
		return given[0]
	case errors.Is(err, unix.EPIPE):
		return StatusPipe
	}
	return StatusFailed
}

// exits returns the statuses given in err's tree, the outermost of each branch.
func exits(err error) []int {
	switch e := err.(type) {
	case nil:
		return nil
	case *exitError:
		return []int{e.status}
	case interface{ Unwrap() []error }:
		var all []int
		for _, part := range e.Unwrap() {
			all = append(all, exits(part)...)
		}
		return all
	}
	return exits(errors.Unwrap(err))
}

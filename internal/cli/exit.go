package cli

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Exit statuses. They are part of the interface.
const (
	StatusOK      = 0
	StatusFailed  = 1 // failed, the target is as before
	StatusUsage   = 2
	StatusRefused = 3 // refused, nothing written
	StatusInput   = 4 // the input is not a valid or complete stream
	StatusChanged = 5 // failed, and the target was changed or lost
	StatusOwn     = 125
	StatusPipe    = 128 + int(unix.SIGPIPE)
)

// exitError carries an exit status.
type exitError struct {
	status int
	err    error // nil: somebody else has told the user
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
func Exit(status int, err error) error { return &exitError{status, err} }

// hinted carries what the user can do.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// WithHint returns err with a hint, which is printed on a line of its own.
func WithHint(err error, hint string) error { return &hinted{err, hint} }

// report prints an error, each part of a joined one on a line of its own, and
// returns the exit status.
func (l *Log) report(err error, own125 bool) int {
	if err == nil {
		return StatusOK
	}
	status := statusOf(err)
	var passed *Passthrough
	if errors.As(err, &passed) {
		return passed.Status
	}
	if status < 128 {
		l.printErrors(err)
	}
	if own125 && status < 128 && status != StatusUsage {
		return StatusOwn
	}
	return status
}

// Passthrough is the error of a command that ran a program to its end: the
// command's exit status is the program's.
type Passthrough struct{ Status int }

func (*Passthrough) Error() string { return "the program ended" }

func statusOf(err error) int {
	var sig *Signalled
	var exit *exitError
	switch {
	case errors.As(err, &sig):
		return 128 + int(sig.Signal)
	case errors.Is(err, unix.EPIPE):
		return StatusPipe
	case errors.As(err, &exit):
		return exit.status
	}
	return StatusFailed
}

func (l *Log) printErrors(err error) {
	var exit *exitError
	if errors.As(err, &exit) && exit.err == nil {
		return
	}
	// A joined error is printed part by part, behind whatever carries it.
	for e := err; e != nil; e = errors.Unwrap(e) {
		if many, ok := e.(interface{ Unwrap() []error }); ok {
			for _, part := range many.Unwrap() {
				l.printErrors(part)
			}
			l.printHints(err)
			return
		}
	}
	l.line("error: ", "%v", err)
	l.printHints(err)
}

// printHints prints the hints around err, down to a joined error, whose parts
// print their own.
func (l *Log) printHints(err error) {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if h, ok := e.(*hinted); ok {
			l.line("hint: ", "%s", h.hint)
		}
	}
}

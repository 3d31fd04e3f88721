package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// report prints an error, each part of a joined one on a line of its own, and
// returns the exit status.
func (l *Log) report(err error, own125 bool) int {
	if err == nil {
		return StatusOK
	}
	var passed *Passthrough
	if errors.As(err, &passed) {
		return passed.Status
	}
	status := statusOf(err)
	l.printErrors(err, status)
	var given *exitError
	exact := errors.As(err, &given) && given.exact
	if own125 && !exact && status < 128 && status != StatusUsage {
		return StatusOwn
	}
	return status
}

// printErrors prints what the user does not know yet, and no hint twice. A user
// who ended the program with a signal knows why it ended, and is told more only with
// -v.
func (l *Log) printErrors(err error, status int) {
	var told []string
	for _, f := range facts(err) {
		switch {
		case known(f.err, status):
			continue
		case status > 128 && status != StatusPipe:
			l.Step("%v", f.err)
			continue
		}
		l.line("error: ", strings.ReplaceAll(f.text, "\n", "; "))
		for _, hint := range f.hints {
			if !slices.Contains(told, hint) {
				told = append(told, hint)
				l.line("hint: ", hint)
			}
		}
	}
}

// known reports whether the user was told an error elsewhere, or need not be.
func known(err error, status int) bool {
	var silent *exitError
	if errors.As(err, &silent) && silent.err == nil {
		return true
	}
	if status < 128 {
		_, isSignal := err.(*Signalled)
		return isSignal || err == context.Canceled
	}
	var sig *Signalled
	return errors.Is(err, unix.EPIPE) || errors.Is(err, context.Canceled) || errors.As(err, &sig)
}

// fact is one error and what can be done about it.
type fact struct {
	err   error
	text  string
	hints []string
}

// facts takes a joined error apart. One inside the text of another error can't be
// taken apart: it is one fact with all hints.
func facts(err error) []fact {
	var outer []string
	for e := err; e != nil; e = errors.Unwrap(e) {
		if h := hintOf(e); h != "" {
			outer = append(outer, h)
		}
		many, ok := e.(interface{ Unwrap() []error })
		if !ok {
			continue
		}
		parts := many.Unwrap()
		list, texts := split(parts)
		if err.Error() == strings.Join(texts, "\n") && len(list) > 0 {
			last := &list[len(list)-1]
			last.hints = append(last.hints, outer...)
			return list
		}
		for _, f := range list {
			outer = append(outer, f.hints...)
		}
	}
	return []fact{{err, err.Error(), outer}}
}

func split(parts []error) (list []fact, texts []string) {
	for _, part := range parts {
		if part != nil {
			list = append(list, facts(part)...)
			texts = append(texts, part.Error())
		}
	}
	return list, texts
}

func hintOf(err error) string {
	if h, ok := err.(interface{ Hint() string }); ok {
		return h.Hint()
	}
	return ""
}

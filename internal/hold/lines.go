package hold

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	maxLineBytes = 1024 // below PIPE_BUF
	maxNameBytes = 64
	maxNames     = 64
	maxFailures  = 64
)

var errLine = errors.New("a filter wrote an invalid line into the hold")

// ledger is what the holders wrote.
type ledger struct {
	pending   []byte // the beginning of a line
	names     []*name
	failures  []string
	committed bool
	bytes     int64
	rounds    int    // how often every holder wrote a line, or one came or went
	stop      string // the id of a move, when the target is to be stopped for it
	bad       error
}

// name is all holders of one name. Each line counts for one of them.
type name struct {
	name  string
	held  int  // announced themselves
	data  int  // of these, hold data
	done  int  // wrote a last line
	lives bool // wrote a line in this round
	pid   int  // of the last one that announced itself, 0 if it did not say
}

// add takes in what was read.
func (l *ledger) add(b []byte) {
	l.pending = append(l.pending, b...)
	for {
		line, rest, ok := bytes.Cut(l.pending, []byte("\n"))
		if !ok {
			break
		}
		if len(line) > maxLineBytes {
			l.bad = errLine
		} else {
			l.line(string(line))
		}
		l.pending = rest
	}
	if len(l.pending) > maxLineBytes {
		l.pending, l.bad = nil, errLine
	}
}

func (l *ledger) line(s string) {
	who, what, _ := strings.Cut(s, " ")
	if !validName(who) {
		l.bad = errLine
		return
	}
	h := l.find(who)
	if h == nil {
		return
	}
	verb, _, _ := strings.Cut(what, " ")
	h.lives = true
	defer l.round(verb == "alive")
	switch {
	case verb == "hold":
		h.hold(what)
	case verb == "stop" && h.data > h.done && l.stop == "":
		l.stop = strings.TrimPrefix(what, "stop ")
	case what == "ok":
		h.last()
	case verb == "committed":
		text, shared := strings.CutSuffix(strings.TrimPrefix(what, "committed "), " shared")
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			l.bad = errLine
			return
		}
		if shared { // an image of a raw stream can't be restored
			l.committed, l.bytes = true, n
		}
		h.last()
	case verb == "failed" || verb == "failed:": // the holder has told the user why
		l.fail(fmt.Sprintf("ckpt-%s failed", h.name))
		h.last()
	}
}

// round ends a round if every holder has written a line in it, or if the line was
// more than a sign of life: a holder came or went.
func (l *ledger) round(alive bool) {
	if alive && slices.ContainsFunc(l.names, func(h *name) bool { return h.held > h.done && !h.lives }) {
		return
	}
	l.rounds++
	for _, h := range l.names {
		h.lives = false
	}
}

// hold counts an announcement: "hold data" or "hold description", and maybe
// the holder's process id.
func (h *name) hold(line string) {
	h.held++
	fields := strings.Split(line, " ")
	if len(fields) > 1 && fields[1] == Data {
		h.data++
	}
	if len(fields) > 2 {
		if pid, err := strconv.ParseInt(fields[2], 10, 32); err == nil && pid > 0 {
			h.pid = int(pid)
		}
	}
}

// holders names those that are not done.
func (l *ledger) holders() (list []string) {
	for _, h := range l.names {
		switch {
		case h.held <= h.done:
		case h.pid == 0:
			list = append(list, "ckpt-"+h.name)
		default:
			list = append(list, fmt.Sprintf("ckpt-%s (pid %d)", h.name, h.pid))
		}
	}
	return list
}

// last counts a last line. One that never announced itself did hold, too.
func (h *name) last() {
	h.done++
	h.held = max(h.held, h.done)
}

func (l *ledger) fail(why string) {
	if len(l.failures) < maxFailures {
		l.failures = append(l.failures, why)
	}
}

func (l *ledger) find(s string) *name {
	for _, h := range l.names {
		if h.name == s {
			return h
		}
	}
	if len(l.names) == maxNames {
		l.bad = errors.New("too many filters hold the target")
		return nil
	}
	h := &name{name: s}
	l.names = append(l.names, h)
	return h
}

// taken reports whether somebody ever held.
func (l *ledger) taken() bool {
	for _, h := range l.names {
		if h.held > 0 {
			return true
		}
	}
	return false
}

// dataHeld reports whether some holder of data is certainly not done: more have
// announced themselves than have written a last line of their name.
func (l *ledger) dataHeld() bool {
	for _, h := range l.names {
		if h.data > h.done {
			return true
		}
	}
	return false
}

// outcome sums up; it is final once nobody holds.
func (l *ledger) outcome() Outcome {
	out := Outcome{Taken: l.taken(), Committed: l.committed, Bytes: l.bytes}
	for _, h := range l.names {
		out.Stored = out.Stored || h.data > 0 && h.done > 0
	}
	out.Failures = append(out.Failures, l.failures...)
	for _, h := range l.names {
		for range min(h.held-h.done, maxFailures) {
			out.Failures = append(out.Failures, fmt.Sprintf("ckpt-%s died before it was done", h.name))
		}
	}
	if l.bad != nil {
		out.Failures = append(out.Failures, l.bad.Error())
	}
	return out
}

func validName(s string) bool {
	for i, c := range []byte(s) {
		if c < 'a' || c > 'z' {
			if i == 0 || c != '-' && (c < '0' || c > '9') {
				return false
			}
		}
	}
	return s != "" && len(s) <= maxNameBytes
}

package hold

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// maxLine bounds a line; PIPE_BUF bytes are written at once or not at all.
const maxLine = 1024

// tick is how often Wait looks at its context.
const tick = 20 * time.Millisecond

// Ref names a hold to a filter on the same host.
type Ref struct {
	PID       int
	StartTime uint64 // clock ticks, /proc/PID/stat field 22
	FD        int
	BootID    string
}

// Hold is the collector's side. It is not safe for concurrent use.
type Hold struct {
	r, w    int
	ref     Ref
	pending []byte
	holders map[string]*holder
	order   []*holder
	bad     error
}

type holder struct {
	name   string
	data   bool
	done   bool
	commit bool
	bytes  int64
	why    string // of a failure
}

// New makes a hold.
func New() (*Hold, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	h := &Hold{r: p[0], w: p[1], holders: map[string]*holder{}}
	stat, err := proc.ReadStat(os.Getpid())
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	boot, err := proc.BootID()
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	h.ref = Ref{PID: os.Getpid(), StartTime: stat.StartTime, FD: h.r, BootID: boot}
	return h, nil
}

// Ref returns what a filter needs to take the hold.
func (h *Hold) Ref() Ref { return h.ref }

// Close ends the hold; later takers find it gone.
func (h *Hold) Close() error {
	h.closeWriter()
	if h.r < 0 {
		return nil
	}
	err := unix.Close(h.r)
	h.r = -1
	return err
}

// closeWriter closes our own write end, after which EOF means that no holder is
// left. It stays open until there is one, so that "nobody yet" is not EOF.
func (h *Hold) closeWriter() {
	if h.w >= 0 {
		unix.Close(h.w)
		h.w = -1
	}
}

// DataHeld reports whether some filter promised to consume all data before it
// is done. It does not wait.
func (h *Hold) DataHeld() bool {
	h.drain()
	for _, o := range h.order {
		if o.data && !o.done {
			return true
		}
	}
	return false
}

// drain takes in what holders wrote. It reports EOF.
func (h *Hold) drain() (eof bool) {
	var buf [4096]byte
	for {
		n, err := unix.Read(h.r, buf[:])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return false // EAGAIN: nothing now
		case n == 0:
			return true
		}
		h.pending = append(h.pending, buf[:n]...)
		for {
			line, rest, ok := bytes.Cut(h.pending, []byte("\n"))
			if !ok {
				break
			}
			h.line(string(line))
			h.pending = rest
		}
		if len(h.pending) > maxLine {
			h.pending = h.pending[:0]
			h.bad = errors.New("a filter wrote what is not a line into the hold")
		}
	}
}

// line takes one line in. What is not understood is ignored, but a holder that
// says nothing else has then failed.
func (h *Hold) line(s string) {
	name, what, _ := bytes.Cut([]byte(s), []byte(" "))
	if !validName(string(name)) {
		h.bad = errors.New("a filter wrote what is not a line into the hold")
		return
	}
	o := h.holders[string(name)]
	if o == nil {
		o = &holder{name: string(name)}
		h.holders[o.name] = o
		h.order = append(h.order, o)
	}
	h.closeWriter()
	switch text := string(what); {
	case text == "hold data":
		o.data = true
	case text == "ok":
		o.done = true
	case bytes.HasPrefix(what, []byte("committed ")):
		n, err := strconv.ParseInt(string(what[len("committed "):]), 10, 64)
		if err == nil && n >= 0 {
			o.done, o.commit, o.bytes = true, true, n
		}
	case bytes.HasPrefix(what, []byte("failed: ")):
		o.done, o.why = true, string(what[len("failed: "):])
	}
}

func validName(s string) bool {
	for i, c := range []byte(s) {
		if c < 'a' || c > 'z' {
			if i == 0 || c != '-' && (c < '0' || c > '9') {
				return false
			}
		}
	}
	return s != "" && len(s) <= 64
}

// WaitOptions bound a Wait.
type WaitOptions struct {
	// FirstTimeout is how long to wait for somebody to take the hold.
	FirstTimeout time.Duration
	// NeedCommit: when all holders are gone and none has committed, wait
	// FirstTimeout for another.
	NeedCommit bool
}

// Outcome is what the holders said.
type Outcome struct {
	Taken     bool
	Committed bool
	Bytes     int64    // of the committed image
	Failures  []string // "ckpt-write: why"
}

// Wait waits until nobody holds any more.
func (h *Hold) Wait(ctx context.Context, o WaitOptions) (Outcome, error) {
	deadline := time.Now().Add(o.FirstTimeout)
	for {
		if ctx.Err() != nil {
			return Outcome{}, context.Cause(ctx)
		}
		eof := h.drain()
		out := h.outcome()
		waiting := !out.Taken || o.NeedCommit && !out.Committed && len(out.Failures) == 0
		switch {
		case eof && !waiting:
			return out, nil
		case eof || h.w >= 0: // nobody there
			if !time.Now().Before(deadline) || eof && len(out.Failures) > 0 {
				return h.outcome(), nil
			}
		default:
			deadline = time.Now().Add(o.FirstTimeout)
		}
		if eof { // poll(2) would return at once
			time.Sleep(tick / 10)
			continue
		}
		p := []unix.PollFd{{Fd: int32(h.r), Events: unix.POLLIN}}
		if _, err := unix.Poll(p, int(tick/time.Millisecond)); err != nil && err != unix.EINTR {
			return Outcome{}, os.NewSyscallError("poll", err)
		}
	}
}

// outcome sums up; it is final once nobody holds.
func (h *Hold) outcome() Outcome {
	out := Outcome{Taken: len(h.order) > 0}
	for _, o := range h.order {
		switch {
		case !o.done:
			out.Failures = append(out.Failures, fmt.Sprintf("ckpt-%s died before it was done", o.name))
		case o.why != "":
			out.Failures = append(out.Failures, fmt.Sprintf("ckpt-%s: %s", o.name, o.why))
		case o.commit:
			out.Committed, out.Bytes = true, o.bytes
		}
	}
	if h.bad != nil {
		out.Failures = append(out.Failures, h.bad.Error())
	}
	return out
}

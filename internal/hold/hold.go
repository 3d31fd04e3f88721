package hold

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/stream/record"
)

const (
	// tick is how often Wait looks at its context.
	tick = 20 * time.Millisecond
	// lateCommit is how long somebody who stores what went into a pipe may take to
	// come after the last one.
	lateCommit = 500 * time.Millisecond
	// maxDrainBytes bounds one look at the pipe, however fast somebody writes.
	maxDrainBytes = 64 << 10
)

// Ref names a hold to a filter on the same host.
type Ref struct {
	PID       int
	StartTime uint64 // clock ticks, /proc/PID/stat field 22
	FD        int
	BootID    string
	// Mark is a descriptor of the collector's memfd that has the pipe's inode
	// number and the checkpoint's id in its name: a stream can say anything, but
	// it can't give a process such a descriptor.
	Mark       int
	Checkpoint string
}

// RefOf returns the hold that a stream names, or nil.
func RefOf(h *record.Header) *Ref {
	if h.Hold == nil {
		return nil
	}
	return &Ref{PID: h.Hold.PID, StartTime: h.Hold.StartTime, FD: h.Hold.FD, BootID: h.Hold.BootID,
		Mark: h.Hold.Mark, Checkpoint: h.Checkpoint}
}

// Hold is the collector's side.
type Hold struct {
	mu   sync.Mutex // of all but ref
	r, w int        // the pipe's ends; -1 when closed
	mark int        // the memfd
	ref  Ref
	said ledger
}

// New makes the hold of a checkpoint.
func New(checkpoint string) (*Hold, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	h := &Hold{r: p[0], w: p[1], mark: -1}
	var err error
	if h.mark, err = newMark(h.r, checkpoint); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	stat, err := proc.ReadStat(os.Getpid())
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	boot, err := proc.BootID()
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	h.ref = Ref{PID: os.Getpid(), StartTime: stat.StartTime, FD: h.r, BootID: boot, Mark: h.mark, Checkpoint: checkpoint}
	return h, nil
}

// Ref returns what a filter needs to take the hold.
func (h *Hold) Ref() Ref { return h.ref }

// Close ends the hold; later takers find it gone.
func (h *Hold) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closeWriter()
	if h.r < 0 {
		return nil
	}
	err := unix.Close(h.r)
	h.r = -1
	if h.mark >= 0 {
		err = errors.Join(err, unix.Close(h.mark))
		h.mark = -1
	}
	return err
}

// closeWriter closes the collector's own write end, after which EOF means that no
// holder is left. It is open until the first one comes, so that "nobody yet" is not EOF.
func (h *Hold) closeWriter() {
	if h.w >= 0 {
		unix.Close(h.w)
		h.w = -1
	}
}

// DataHeld reports whether some filter promised to consume all data before it
// is done. It does not wait.
func (h *Hold) DataHeld() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drain()
	return h.said.dataHeld()
}

// Signs returns a number that changes when every holder has written a line since
// the last change, and whether there is a holder. A holder that lives writes lines
// again and again; those of one can't stand in for another's silence.
func (h *Hold) Signs() (rounds int, held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	eof := h.drain()
	return h.said.rounds, !eof && h.w < 0
}

// Holders names those that are not done, as "ckpt-write (pid 4711)".
func (h *Hold) Holders() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.said.holders()
}

// drain reads what holders wrote. It reports EOF. The caller has the lock.
func (h *Hold) drain() (eof bool) {
	if h.r < 0 {
		return true
	}
	var buf [4096]byte
	for total := 0; total < maxDrainBytes; {
		n, err := unix.Read(h.r, buf[:])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN: // nothing now
			return false
		case err != nil:
			h.said.bad = os.NewSyscallError("read the hold", err)
			return true
		case n == 0:
			return true
		}
		total += n
		h.said.add(buf[:n])
		if h.said.taken() {
			h.closeWriter()
		}
	}
	return false
}

// WaitOptions bound a Wait.
type WaitOptions struct {
	// FirstTimeout is how long to wait for somebody to take the hold.
	FirstTimeout time.Duration
	// NeedCommit: when all holders are gone, and none has committed or failed, wait
	// for another one that does: as long again, or a moment if one has held the data
	// to the end.
	NeedCommit bool
	// Stop is called once if a holder asks that the target be stopped for a move.
	Stop func(id string) error
}

// patience is how long to wait for another holder when there is none any more.
func (o *WaitOptions) patience(out *Outcome) time.Duration {
	switch {
	case !out.Taken:
		return o.FirstTimeout
	case !o.NeedCommit || out.Committed || len(out.Failures) > 0:
		return 0
	case out.Stored:
		return min(lateCommit, o.FirstTimeout)
	}
	return o.FirstTimeout
}

// Outcome is what the holders reported.
type Outcome struct {
	Taken     bool
	Stored    bool // a holder of the data was done
	Committed bool
	Bytes     int64    // of the committed image
	Failures  []string // "ckpt-write failed"
}

// Wait waits until there is no holder any more.
func (h *Hold) Wait(ctx context.Context, o WaitOptions) (Outcome, error) {
	for held := time.Now(); ; {
		if ctx.Err() != nil {
			return Outcome{}, context.Cause(ctx)
		}
		eof, out := h.look()
		if err := h.stop(&o); err != nil {
			return Outcome{}, err
		}
		if out == nil { // there is a holder
			held = time.Now()
		} else if time.Since(held) >= o.patience(out) {
			return *out, nil
		}
		if err := h.pause(eof); err != nil {
			return Outcome{}, err
		}
	}
}

// stop has the target stopped for a move, if that is asked for.
func (h *Hold) stop(o *WaitOptions) error {
	h.mu.Lock()
	id := h.said.stop
	h.mu.Unlock()
	if id == "" || o.Stop == nil {
		return nil
	}
	stop := o.Stop
	o.Stop = nil
	return stop(id)
}

// look reads what holders wrote, and returns the outcome if there is no holder.
func (h *Hold) look() (eof bool, out *Outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if eof = h.drain(); eof || h.w >= 0 {
		o := h.said.outcome()
		out = &o
	}
	return eof, out
}

// pause waits for something to read, for a tick at most. At EOF poll(2) would
// return at once, so it waits a tick, after which a late holder is seen.
func (h *Hold) pause(eof bool) error {
	if eof {
		time.Sleep(tick)
		return nil
	}
	p := []unix.PollFd{{Fd: int32(h.r), Events: unix.POLLIN}}
	if _, err := unix.Poll(p, int(tick/time.Millisecond)); err != nil && err != unix.EINTR {
		return os.NewSyscallError("poll", err)
	}
	return nil
}

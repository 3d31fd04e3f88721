package hold

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// ErrGone: the collector has let the target go, or it is on another host.
var ErrGone = errors.New("the target is not held any more")

// What a holder needs.
const (
	Description = "description" // the target must not run
	Data        = "data"        // and I consume all data before I am done
)

// Copies reports whether a write to f returns only when the data was copied, so
// that the writer has consumed it. A pipe may keep the pages themselves.
func Copies(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && (st.Mode().IsRegular() || st.Mode()&os.ModeCharDevice != 0)
}

// Holder is a filter's side of a hold.
type Holder struct {
	name string
	f    *os.File
	ends chan struct{} // closed with it; nil: it reports no signs of life
	done atomic.Bool   // all input was read
}

// Take takes the hold that ref names.
func Take(ref Ref, name, what string) (*Holder, error) {
	if !validName(name) || what != Description && what != Data {
		return nil, fmt.Errorf("%q can't hold %q", name, what)
	}
	boot, err := proc.BootID()
	if err != nil {
		return nil, err
	}
	if boot != ref.BootID || !alive(ref) {
		return nil, ErrGone
	}
	f, err := open(&ref)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("the hold of ckpt-collect (pid %d) can't be opened: run both as the same user, with the same capabilities: %w", ref.PID, err)
	}
	if err != nil {
		return nil, ErrGone
	}
	h := &Holder{name: name, f: f}
	if !alive(ref) {
		h.Close()
		return nil, ErrGone
	}
	if err := h.say(fmt.Sprintf("hold %s %d", what, os.Getpid())); err != nil {
		h.Close()
		return nil, ErrGone
	}
	return h, nil
}

// alive reports whether the collector is still the process ref means.
func alive(ref Ref) bool {
	stat, err := proc.ReadStat(ref.PID)
	return err == nil && stat.StartTime == ref.StartTime && stat.State != 'Z'
}

func (h *Holder) say(line string) error {
	_, err := h.f.WriteString(h.name + " " + line + "\n")
	return err
}

// last writes the last line and closes. ErrGone: there is no collector to read it.
func (h *Holder) last(line string) error {
	if h == nil || h.f == nil {
		return nil
	}
	err := h.say(line)
	if cerr := h.Close(); err == nil {
		err = cerr
	}
	if errors.Is(err, unix.EPIPE) {
		return ErrGone
	}
	return err
}

// Stop asks that the target be stopped for a move.
func (h *Holder) Stop(id string) error { return h.say("stop " + id) }

// Gone reports whether there is no collector any more.
func (h *Holder) Gone() bool { return h == nil || h.f == nil || !sys.HasReaders(h.f) }

// OK says that the holder is done.
func (h *Holder) OK() error { return h.last("ok") }

// Committed says that the image, of so many bytes, is stored safely. It is that of
// a shared stream; one of a raw stream can't be restored and does not count.
func (h *Holder) Committed(bytes int64) error {
	return h.last(fmt.Sprintf("committed %d shared", bytes))
}

// Failed says that the holder gave up. It tells the user why by itself: text from
// a stream must not get into a line.
func (h *Holder) Failed() error { return h.last("failed") }

// Close lets go without a last line, which the collector takes for death. It does
// nothing for a nil Holder or after a last line.
func (h *Holder) Close() error {
	if h == nil || h.f == nil {
		return nil
	}
	if h.ends != nil {
		close(h.ends)
		h.ends = nil
	}
	err := h.f.Close()
	h.f = nil
	return err
}

// TakeToStore takes the hold of a stream for a filter that stores it, if the target is on
// this host and still held: else nil, for nothing there depends on it but the target's fate.
// step and note tell the user why it is not.
func TakeToStore(h *record.Header, tool string, step, note func(format string, args ...any)) *Holder {
	ref := RefOf(h)
	if ref == nil {
		return nil
	}
	holder, err := Take(*ref, tool, Data)
	switch {
	case errors.Is(err, ErrGone):
		step("the target is not held for this image: %v", err)
		return nil
	case err != nil:
		note("the target is not held for this image: %v", err)
		return nil
	}
	return holder
}

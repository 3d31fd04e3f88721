package hold

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// beat is how often a holder shows that it lives: often enough for any
// --stall-timeout that makes sense.
const beat = 250 * time.Millisecond

// Beat makes the holder report again and again that it is alive, while it has
// something to do: there is input left to read, because it compresses or waits for
// its output, or it has read all of it. While it waits for input it says nothing:
// what it waits for may be stuck.
func (h *Holder) Beat(in *os.File) {
	if h == nil || h.f == nil || h.ends != nil {
		return
	}
	h.ends = make(chan struct{})
	go h.beats(h.f, in, h.ends)
}

// InputRead says that all input was read: what the holder does from now on is its
// own work.
func (h *Holder) InputRead() {
	if h != nil {
		h.done.Store(true)
	}
}

func (h *Holder) beats(f, in *os.File, ends <-chan struct{}) {
	t := time.NewTicker(beat)
	defer t.Stop()
	for {
		select {
		case <-ends:
			return
		case <-t.C:
		}
		if !h.done.Load() && !readable(in) {
			continue
		}
		if !tryWrite(f, h.name+" alive\n") {
			return
		}
	}
}

// tryWrite writes a line if there is room for it, and reports whether there may
// be room for another later.
func tryWrite(f *os.File, line string) bool {
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	var werr error
	err = conn.Write(func(fd uintptr) bool {
		_, werr = unix.Write(int(fd), []byte(line))
		return true
	})
	return err == nil && (werr == nil || werr == unix.EAGAIN || werr == unix.EINTR)
}

// readable reports whether a file has something to read, or is at its end.
func readable(f *os.File) bool {
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	ready := false
	_ = conn.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		ready = err == nil && n > 0
	})
	return ready
}

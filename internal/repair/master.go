package repair

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// master is the thread of our maker that traces the target. A guard traces that thread, in
// turn, while it reads: should the thread be killed, it stops before it ends
// (PTRACE_EVENT_EXIT), and the target stands still until we let the thread go.
type master struct {
	tid  int
	over chan struct{} // closed when the thread is no longer traced
	free atomic.Bool   // it is to be let go at the next SIGURG
	last func()        // called when it ends by itself, before it lets its tracees go; may be nil

	reading sync.Mutex // while a socket is in repair
	gone    bool       // the thread is let go: nothing is begun any more
}

var errFree = errors.New("the thread that traces the target is not held")

// traceMaster begins to trace a thread.
func traceMaster(tid int, last func()) (*master, error) {
	m := &master{tid: tid, over: make(chan struct{}), last: last}
	begun := make(chan error)
	go func() {
		runtime.LockOSThread() // a thread is the tracer, and its end lets go
		defer close(m.over)
		err := m.seize()
		begun <- err
		if err == nil {
			m.pass()
		}
	}()
	if err := <-begun; err != nil {
		return nil, fmt.Errorf("hold ckpt-collect itself, which a debugger may hold: %w", err)
	}
	return m, nil
}

// seize needs the thread stopped for a moment, to say which events it wants.
func (m *master) seize() error {
	if err := unix.PtraceSeize(m.tid); err != nil {
		return os.NewSyscallError("ptrace", err)
	}
	if err := unix.PtraceInterrupt(m.tid); err != nil {
		return os.NewSyscallError("ptrace", err)
	}
	for {
		ws, err := m.wait()
		if err != nil {
			return err
		}
		if !ws.Stopped() {
			return unix.ESRCH
		}
		if event(ws) == unix.PTRACE_EVENT_STOP {
			break
		}
		if err := unix.PtraceCont(m.tid, int(ws.StopSignal())); err != nil {
			return os.NewSyscallError("ptrace", err)
		}
	}
	return os.NewSyscallError("ptrace", errors.Join(unix.PtraceSetOptions(m.tid, unix.PTRACE_O_TRACEEXIT), unix.PtraceCont(m.tid, 0)))
}

func (m *master) wait() (ws unix.WaitStatus, err error) {
	for {
		if _, err = unix.Wait4(m.tid, &ws, unix.WALL, nil); err != unix.EINTR {
			return ws, os.NewSyscallError("wait4", err)
		}
	}
}

// event is the PTRACE_EVENT_ of a stop; 0: it is for a signal.
func event(ws unix.WaitStatus) int { return int(ws >> 16) }

// pass lets the thread run, until it is to be let go or ends.
func (m *master) pass() {
	defer m.end()
	for {
		ws, err := m.wait()
		sig := 0
		switch {
		case err != nil || !ws.Stopped():
			m.ends()
			return
		case event(ws) == unix.PTRACE_EVENT_EXIT:
			m.end()
			m.ends()
			_ = unix.PtraceDetach(m.tid)
			return
		case event(ws) != 0:
		case ws.StopSignal() == unix.SIGURG && m.free.Load():
			_ = unix.PtraceDetach(m.tid)
			return
		default:
			sig = int(ws.StopSignal())
		}
		if unix.PtraceCont(m.tid, sig) != nil { // it was killed; what it does then is waited for
			continue
		}
	}
}

func (m *master) ends() {
	if m.last != nil {
		m.last()
	}
}

// HoldMaster traces a thread of the parent, which traces a target, until free is called. Should
// the thread be killed before, last is called while the target still stands still.
func HoldMaster(tid int, last func()) (free func(), err error) {
	m, err := traceMaster(tid, last)
	if err != nil {
		return nil, err
	}
	return m.letGo, nil
}

// end waits for what is being read.
func (m *master) end() {
	m.reading.Lock()
	defer m.reading.Unlock()
	m.gone = true
}

// letGo ends the tracing.
func (m *master) letGo() {
	m.free.Store(true)
	_ = unix.Tgkill(os.Getppid(), m.tid, unix.SIGURG) // which a Go program takes at any time
	<-m.over
}

// read reads a socket while the thread is held.
func (m *master) read(fd int) (*Snapshot, error) {
	if m == nil {
		return nil, errFree
	}
	m.reading.Lock()
	defer m.reading.Unlock()
	if m.gone {
		return nil, errFree
	}
	return take(fd)
}

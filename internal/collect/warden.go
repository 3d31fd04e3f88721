package collect

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/move"
	"ckpt/internal/proc"
	"ckpt/internal/tracee"
)

// wardenName is the name by which this program is told to be a warden.
const wardenName = "ckpt-warden"

// The warden's descriptors.
const (
	wardenLife   = 0 // a pipe that ends with ckpt-collect
	wardenRecord = 1 // the record of the move, whose lock it takes over
)

// wardenTick is how often it looks at the record.
const wardenTick = 50 * time.Millisecond

// startWarden starts this very program as the warden of a tree that is being stopped for
// good. When we end, by whatever means, and it is not decided, that keeps the tree still, see warden.
// The pipe it returns ends it with us.
func startWarden(s *move.Source) (life *os.File, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	defer null.Close()
	begun := make(chan error)
	go func() { // another thread than the one that traces, which waits for all its children
		_, _, err := syscall.StartProcess("/proc/self/exe", []string{wardenName, s.ID}, &syscall.ProcAttr{
			Env: os.Environ(), Sys: &syscall.SysProcAttr{Setsid: true},
			Files: []uintptr{wardenLife: r.Fd(), wardenRecord: s.File().Fd(), 2: null.Fd()},
		})
		begun <- err
	}()
	if err := <-begun; err != nil {
		return nil, errors.Join(fmt.Errorf("start this program again to keep the target stopped: %w", err), w.Close())
	}
	return w, nil
}

// warden keeps a tree still, from when its ckpt-collect has ended until it is decided what
// becomes of it, and then does that. SIGSTOP alone would do, but whoever may signal a process
// can continue it, and so does the kernel when its session ends. So the warden traces it, and stops it
// again and again: if the warden is killed, it is stopped still.
func warden(id string) int {
	runtime.LockOSThread()
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGTSTP)
	_ = os.WriteFile("/proc/self/comm", []byte(wardenName), 0) // for ps(1)
	s, err := move.Find(id)
	if err != nil {
		return 0 // it is settled
	}
	var end [1]byte
	for _, err := unix.Read(wardenLife, end[:]); err == unix.EINTR; {
		_, err = unix.Read(wardenLife, end[:])
	}
	if _, err := s.Advance(move.Stays, move.Held, move.Stopped); err != nil {
		return 0
	}
	w := &keptStill{source: s, group: tracee.NewGroup(time.Second, func(int, int) {})}
	for ; ; time.Sleep(wardenTick) {
		if over, err := w.look(); over || err != nil {
			return 0
		}
	}
}

// keptStill is a tree that a warden keeps.
type keptStill struct {
	source *move.Source
	group  *tracee.Group
}

// look does what the record says.
func (k *keptStill) look() (over bool, err error) {
	switch state, err := k.source.State(); {
	case err != nil: // another one has settled it
		return true, errors.Join(err, k.group.ReleaseAll())
	case state == move.Sent:
		k.still()
		k.group.Sweep() // who was killed is reported to us before its parent
		return k.source.Over(0) == nil, nil
	case state == move.Stays:
		return true, errors.Join(k.source.Signal(unix.SIGCONT), k.group.ReleaseAll(), k.source.Remove())
	}
	err = errors.Join(k.source.Signal(unix.SIGKILL), k.group.ReleaseAll())
	if err == nil {
		err = k.source.Over(time.Minute)
	}
	return true, errors.Join(err, k.source.Remove())
}

// still stops all processes, and traces them as far as nobody else does.
func (k *keptStill) still() {
	_ = k.source.Signal(unix.SIGSTOP)
	for _, p := range k.source.Procs {
		stat, err := proc.ReadStat(p.PID)
		if err != nil || stat.StartTime != p.Start {
			continue
		}
		tids, err := proc.Threads(p.PID)
		for _, tid := range tids {
			if err == nil && !k.group.Holds(tid) {
				_, _ = k.group.Seize(p.PID, tid) // else in the next round
			}
		}
	}
}

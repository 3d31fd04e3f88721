package collect

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/move"
)

// wardenName is the name by which this program is told to be a warden.
const wardenName = "ckpt-warden"

// The warden's descriptors.
const (
	wardenLife   = 0 // a pipe that ends with ckpt-collect
	wardenRecord = 1 // the record of the move, whose lock it takes over
	wardenReady  = 2 // a pipe to ckpt-collect, into which it says wardenCan, or what is in the way
)

const (
	// wardenTick is how often it looks at the record.
	wardenTick = 50 * time.Millisecond
	// resumeTime is how long others may keep it from having the tree go on. It is less than ckpt-commit waits for it.
	resumeTime = 5 * time.Second
)

// startWarden starts this very program as the warden of a tree that is being stopped for
// good. When we end, by whatever means, and it is not decided, that keeps the tree still, see warden.
// The pipe it returns ends it with us.
func startWarden(s *move.Source) (life *os.File, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	ready, said, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	defer ready.Close()
	begun := make(chan error)
	go func() { // another thread than the one that traces, which waits for all its children
		_, _, err := syscall.StartProcess("/proc/self/exe", []string{wardenName, s.ID}, &syscall.ProcAttr{
			Env: os.Environ(), Sys: &syscall.SysProcAttr{Setsid: true},
			Files: []uintptr{wardenLife: r.Fd(), wardenRecord: s.File().Fd(), wardenReady: said.Fd()},
		})
		begun <- err
	}()
	err = <-begun
	said.Close()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start this program again to keep the target stopped: %w", err), w.Close())
	}
	text, err := io.ReadAll(io.LimitReader(ready, 4096))
	if err == nil && string(text) != wardenCan {
		err = cli.WithHint(errors.New(strings.TrimSpace("the target can't be moved: "+string(text))), "whoever may trace his own children only (Yama, ptrace(2)) needs CAP_SYS_PTRACE for it")
	}
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// wardenCan is what the warden says that may trace all of the tree.
const wardenCan = "can"

// tellReady says whether it may, and nothing more.
func tellReady(s *move.Source) error {
	text := wardenCan
	err := s.MayTrace()
	if err != nil {
		text = err.Error()
	}
	null, nerr := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if nerr != nil {
		return nerr
	}
	defer null.Close()
	_, werr := unix.Write(wardenReady, []byte(text))
	return errors.Join(err, werr, unix.Dup3(int(null.Fd()), wardenReady, 0))
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
	if tellReady(s) != nil {
		return 0 // ckpt-collect goes on without it
	}
	var end [1]byte
	for _, err := unix.Read(wardenLife, end[:]); err == unix.EINTR; {
		_, err = unix.Read(wardenLife, end[:])
	}
	if _, err := s.Advance(move.Stays, move.Held, move.Stopped); err != nil {
		return 0
	}
	for k := s.Keep(); ; time.Sleep(wardenTick) {
		if over, err := look(s, k); over || err != nil {
			return 0
		}
	}
}

// look does what the record says.
func look(s *move.Source, k *move.Keeper) (over bool, err error) {
	switch state, err := s.State(); {
	case err != nil: // another one has settled it
		return true, errors.Join(err, k.Release())
	case state == move.Sent:
		k.Still()
		if s.Over(0) == nil { // they were ended by hand
			return true, s.Remove()
		}
		return false, nil
	case state == move.Stays:
		if err := k.Resume(resumeTime); err != nil {
			return true, err // ckpt-commit tries it again
		}
		return true, s.Remove()
	}
	err = errors.Join(s.Signal(unix.SIGKILL), k.Release())
	if err == nil {
		err = s.Over(time.Minute)
	}
	return true, errors.Join(err, s.Remove())
}

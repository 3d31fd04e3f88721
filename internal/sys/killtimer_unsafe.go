package sys

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// KillTimer makes the kernel send this process SIGKILL when it expires, which ends
// it even while it is stopped.
type KillTimer struct{ id int32 }

// sigevent is struct sigevent, see timer_create(2).
type sigevent struct {
	value         uint64
	signo, notify int32
	_             [48]byte
}

type itimerspec struct{ interval, value unix.Timespec }

// NewKillTimer makes a timer, which does not run yet.
func NewKillTimer() (*KillTimer, error) {
	ev := sigevent{signo: int32(unix.SIGKILL)} // notify 0: SIGEV_SIGNAL
	t := &KillTimer{}
	_, _, e := unix.RawSyscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&ev)), uintptr(unsafe.Pointer(&t.id)))
	if e != 0 {
		return nil, os.NewSyscallError("timer_create", e)
	}
	return t, nil
}

// Arm makes it expire after d; 0 stops it. It does nothing to a nil timer.
func (t *KillTimer) Arm(d time.Duration) error {
	if t == nil {
		return nil
	}
	spec := itimerspec{value: unix.NsecToTimespec(int64(d))}
	_, _, e := unix.RawSyscall6(unix.SYS_TIMER_SETTIME, uintptr(t.id), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	if e != 0 {
		return os.NewSyscallError("timer_settime", e)
	}
	return nil
}

// Close deletes the timer. It does nothing to a nil timer.
func (t *KillTimer) Close() error {
	if t == nil {
		return nil
	}
	if _, _, e := unix.RawSyscall(unix.SYS_TIMER_DELETE, uintptr(t.id), 0, 0); e != 0 {
		return os.NewSyscallError("timer_delete", e)
	}
	return nil
}

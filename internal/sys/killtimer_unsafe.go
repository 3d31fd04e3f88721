package sys

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// KillTimer has the kernel send us SIGKILL when it expires, which also ends a
// process that is stopped.
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

// Arm has it expire after d; 0 stops it. Of a nil timer it does nothing.
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

// Close deletes the timer. Of a nil timer it does nothing.
func (t *KillTimer) Close() error {
	if t == nil {
		return nil
	}
	if _, _, e := unix.RawSyscall(unix.SYS_TIMER_DELETE, uintptr(t.id), 0, 0); e != 0 {
		return os.NewSyscallError("timer_delete", e)
	}
	return nil
}

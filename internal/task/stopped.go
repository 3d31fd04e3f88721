package task

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/tracee"
)

// The parent of a stopped process learns of the stop by SIGCHLD, which is among its
// pending signals, and by wait(2), which reports each stop once.

// stopSignals are the signals whose default action stops a process.
var stopSignals = []int{int(unix.SIGSTOP), int(unix.SIGTSTP), int(unix.SIGTTIN), int(unix.SIGTTOU)}

// StopSignal returns the signal with which to stop a process that was stopped by sig.
func StopSignal(sig int) unix.Signal {
	if slices.Contains(stopSignals, sig) {
		return unix.Signal(sig)
	}
	return unix.SIGSTOP
}

// StopUnreported reports whether wait(2) with WUNTRACED would still report the stop
// of a child to its parent. parent is a thread of that process.
func StopUnreported(parent tracee.Caller, child int) (bool, error) {
	info, err := waitStopped(parent, child, unix.WNOWAIT)
	if tracee.Errno(err) == unix.ECHILD {
		return false, nil // it can't wait for that process
	}
	return info != 0, err
}

// ConsumeStop takes back what the stop of a child has just sent to its parent: the
// SIGCHLD, unless one was pending before, and if told, the report of wait(2).
func ConsumeStop(parent tracee.Caller, child int, pendingBefore, told bool) error {
	if told {
		if _, err := waitStopped(parent, child, 0); err != nil {
			return err
		}
	}
	if pendingBefore {
		return nil
	}
	at := parent.Scratch().Addr
	buf := abi.Bytes(1<<(unix.SIGCHLD-1), 0, 0) // sigset_t, struct timespec
	if err := parent.Tracee().WriteMem(at, buf); err != nil {
		return err
	}
	_, err := parent.Call(unix.SYS_RT_SIGTIMEDWAIT, at, 0, at+8, 8)
	if err == unix.EAGAIN { // it ignores SIGCHLD, or set SA_NOCLDSTOP
		err = nil
	}
	return err
}

// ChildSignalPending reports whether SIGCHLD is pending in the thread's process.
func ChildSignalPending(t *tracee.Tracee) (bool, error) {
	infos, err := t.PendingSignals(true)
	return signalWaits(infos, unix.SIGCHLD), err
}

// signalWaits reports whether a signal is among pending ones.
func signalWaits(infos [][]byte, sig unix.Signal) bool {
	return slices.ContainsFunc(infos, func(info []byte) bool {
		return len(info) >= 4 && binary.LittleEndian.Uint32(info) == uint32(sig)
	})
}

// waitStopped calls waitid(2) in a parent for a stopped child, and returns the pid
// that it reports, 0 for none.
func waitStopped(parent tracee.Caller, child int, flags uint64) (uint32, error) {
	const siPID = 16 // offset of si_pid in siginfo_t
	if err := parent.Tracee().WriteMem(parent.Scratch().Addr, make([]byte, abi.SiginfoBytes)); err != nil {
		return 0, err
	}
	a, err := tracee.Ask(parent, query(abi.SiginfoBytes, unix.SYS_WAITID, unix.P_PID, uint64(child), scratchArg, unix.WSTOPPED|unix.WNOHANG|unix.WALL|flags, 0))
	if err == nil {
		err = a.Err
	}
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(a.Data[siPID:]), nil
}

package kcmp

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Type is what kcmp(2) compares, uapi linux/kcmp.h.
type Type int

// The types.
const (
	File Type = iota
	VM
	Files
	FS
	Sighand
	IO
	SysVSem
)

// Handle is one process and, for File, a descriptor of it.
type Handle struct {
	PID int
	Idx uint64
}

// Comparer orders kernel objects.
type Comparer interface {
	// Compare returns 0 when both handles are the same object, else a
	// negative or positive number in a total order of objects.
	Compare(t Type, a, b Handle) (int, error)
}

// Kernel compares by kcmp(2).
type Kernel struct{}

// Compare implements Comparer. The kernel may also answer that two objects are
// different and not ordered; it does so for none of the types here.
func (Kernel) Compare(t Type, a, b Handle) (int, error) {
	n, _, e := unix.RawSyscall6(unix.SYS_KCMP, uintptr(a.PID), uintptr(b.PID), uintptr(t), uintptr(a.Idx), uintptr(b.Idx), 0)
	switch {
	case e == unix.EPERM:
		return 0, fmt.Errorf("pid %d and pid %d may not be compared by this user: run ckpt-dedup as the user of ckpt-collect: %w", a.PID, b.PID, e)
	case e == unix.ESRCH:
		return 0, fmt.Errorf("pid %d or pid %d is gone: %w", a.PID, b.PID, e)
	case e == unix.EBADF:
		return 0, fmt.Errorf("fd %d of pid %d or fd %d of pid %d is closed: %w", a.Idx, a.PID, b.Idx, b.PID, e)
	case e != 0:
		return 0, fmt.Errorf("kcmp of pid %d and pid %d: %w", a.PID, b.PID, e)
	case n == 1:
		return -1, nil
	case n == 2:
		return 1, nil
	case n != 0:
		return 0, fmt.Errorf("kcmp of pid %d and pid %d: the kernel does not order them", a.PID, b.PID)
	}
	return 0, nil
}

package kcmp

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// Type is what kcmp(2) compares. The values are those of include/uapi/linux/kcmp.h.
type Type int

const (
	File     Type = iota // open files; the index is the descriptor
	VM                   // address spaces
	Files                // descriptor tables
	FS                   // root, working directory and umask
	Sighand              // tables of signal actions
	IO                   // I/O contexts; equal also if neither task has one
	SysVSem              // System V semaphore undo lists; equal also if neither task has one
	EpollTFD             // an open file and an epoll's target, see CompareEpollTarget
)

var typeNames = [...]string{"file", "vm", "files", "fs", "sighand", "io", "sysvsem", "epoll_tfd"}

func (t Type) String() string {
	if t < 0 || int(t) >= len(typeNames) {
		return fmt.Sprintf("type %d", int(t))
	}
	return typeNames[t]
}

// Ordering is kcmp(2)'s answer: how the first object compares with the second.
type Ordering int

const (
	Equal     Ordering = iota // one object
	Less                      // two objects, the first comes first
	Greater                   // two objects, the first comes last
	Unordered                 // two objects, order unknown
)

var orderingNames = [...]string{"equal", "less", "greater", "unordered"}

func (o Ordering) String() string {
	if o < 0 || int(o) >= len(orderingNames) {
		return fmt.Sprintf("ordering %d", int(o))
	}
	return orderingNames[o]
}

// Reverse is the answer to the same question with the two objects exchanged.
func (o Ordering) Reverse() Ordering {
	switch o {
	case Less:
		return Greater
	case Greater:
		return Less
	}
	return o
}

// Handle is one way to reach a kernel object: a task and, for File, the
// descriptor. Idx is 0 for every other type.
type Handle struct {
	PID int
	Idx uint64
}

// EpollSlot names one target of an epoll, struct kcmp_epoll_slot of
// include/uapi/linux/kcmp.h.
type EpollSlot struct {
	EpollFD  uint32 // the epoll
	TargetFD uint32 // the number its target was added under
	Offset   uint32 // which of several targets added under that number
}

// Compare is kcmp(2) for all types but EpollTFD. Errors are of type *Error.
func Compare(pid1, pid2 int, typ Type, idx1, idx2 uint64) (Ordering, error) {
	a, b := Handle{pid1, idx1}, Handle{pid2, idx2}
	if typ < 0 || typ >= EpollTFD {
		return 0, &Error{Type: typ, A: a, B: b, Err: unix.EINVAL}
	}
	o, errno := compare(a, b, typ)
	if errno != 0 {
		return 0, &Error{Type: typ, A: a, B: b, At: guilty(a, b, typ, errno), Err: errno}
	}
	return o, nil
}

// CompareEpollTarget compares the open file fd of task pid with a target of
// task epollPid's epoll. The order is that of File.
func CompareEpollTarget(pid int, fd uint64, epollPid int, slot EpollSlot) (Ordering, error) {
	a, b := Handle{pid, fd}, Handle{epollPid, uint64(slot.EpollFD)}
	errno := validate(a, b, File)
	var o Ordering
	if errno == 0 {
		o, errno = compareEpoll(a, epollPid, &slot)
	}
	if errno != 0 {
		return 0, &Error{Type: EpollTFD, A: a, B: b, Slot: slot, At: guilty(a, b, File, errno), Err: errno}
	}
	return o, nil
}

func compare(a, b Handle, typ Type) (Ordering, unix.Errno) {
	if errno := validate(a, b, typ); errno != 0 {
		return 0, errno
	}
	return kcmp(a.PID, b.PID, typ, uintptr(a.Idx), uintptr(b.Idx))
}

// validate comes before the system call, which drops the upper half of an int
// argument and would answer for another pid or descriptor.
func validate(a, b Handle, typ Type) unix.Errno {
	for _, h := range [...]Handle{a, b} {
		if h.PID <= 0 || h.PID > math.MaxInt32 {
			return unix.ESRCH
		}
		if typ == File && h.Idx > math.MaxInt32 {
			return unix.EBADF
		}
	}
	return 0
}

// Kernel is the Comparer that asks the kernel.
type Kernel struct{}

// Compare is the function Compare.
func (Kernel) Compare(a, b Handle, typ Type) (Ordering, error) {
	return Compare(a.PID, b.PID, typ, a.Idx, b.Idx)
}

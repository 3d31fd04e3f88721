package proc

import (
	"strconv"
	"strings"
)

// Lock is a file lock or lease, as a lock: line of fdinfo shows it (proc_locks(5),
// fs/locks.c lock_get_status). Only locks on the descriptor's open file
// are shown there, taken through it or by its process.
type Lock struct {
	Type  string // POSIX, OFDLCK, FLOCK, LEASE, DELEG; ACCESS, UNKNOWN
	State string // ADVISORY or, for leases, ACTIVE, BREAKING, BREAKER
	Mode  string // READ, WRITE, UNLCK; of a breaking lease what it becomes
	PID   int    // its owner; -1 for OFDLCK, 0 if outside the pid namespace
	Major uint32 // device of the file system
	Minor uint32
	Inode uint64
	Start int64 // first byte
	End   int64 // last byte, EOF if the lock covers the file however it grows
}

// EOF is the End of a lock without an end.
const EOF = -1

// ParseLock parses the value of a lock: line, such as
//
//	1: POSIX  ADVISORY  WRITE 5199 fe:00:9977888 5 14
func ParseLock(s string) (Lock, error) {
	w := strings.Fields(s)
	if len(w) != 8 || !strings.HasSuffix(w[0], ":") {
		return Lock{}, malformed("lock", []byte(s))
	}
	l := Lock{Type: w[1], State: w[2], Mode: w[3]}
	ok := setInt(&l.PID, w[4]) && l.setInode(w[5])
	ok = ok && setOffset(&l.Start, w[6])
	if w[7] == "EOF" {
		l.End = EOF
	} else {
		ok = ok && setOffset(&l.End, w[7]) && l.Start <= l.End
	}
	if !ok {
		return Lock{}, malformed("lock", []byte(s))
	}
	return l, nil
}

// setInode takes "fe:00:9977888", or "<none>:0" of a lock without a file.
func (l *Lock) setInode(s string) bool {
	if s == "<none>:0" {
		return true
	}
	w := strings.Split(s, ":")
	return len(w) == 3 && setUint(&l.Major, w[0], 16) && setUint(&l.Minor, w[1], 16) &&
		setUint(&l.Inode, w[2], 10)
}

func setOffset(to *int64, s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	*to = n
	return err == nil && n >= 0
}

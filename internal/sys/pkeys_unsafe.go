package sys

import (
	"sync"

	"golang.org/x/sys/unix"
)

// HasPkeys reports whether this CPU and this kernel have memory protection keys, see
// pkeys(7).
var HasPkeys = sync.OnceValue(func() bool {
	key, _, e := unix.RawSyscall(unix.SYS_PKEY_ALLOC, 0, 0, 0)
	if e != 0 {
		return false
	}
	_, _, _ = unix.RawSyscall(unix.SYS_PKEY_FREE, key, 0, 0)
	return true
})

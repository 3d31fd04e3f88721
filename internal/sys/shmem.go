package sys

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// ShmemDev returns the device number of the kernel's internal file system for
// memfds, shared anonymous memory and System V segments, except those in huge pages. See mm/shmem.c.
var ShmemDev = sync.OnceValues(func() (uint64, error) {
	fd, err := unix.MemfdCreate("own", unix.MFD_CLOEXEC)
	if err != nil {
		return 0, os.NewSyscallError("memfd_create", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st) // not in the return statement: the order of evaluation there is not specified
	return st.Dev, os.NewSyscallError("fstat", err)
})

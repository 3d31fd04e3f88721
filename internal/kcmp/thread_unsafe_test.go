package kcmp

import "golang.org/x/sys/unix"

// setThreadUser is setresuid of the calling thread alone; unix.Setresuid is
// that of all.
func setThreadUser(uid uintptr) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid)
	return errno
}

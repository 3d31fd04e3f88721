package puppet

import (
	"fmt"
	"math/bits"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
)

// StartInit starts this very program again, with these arguments and environment, as the
// first process of a new pid namespace, with a new mount namespace. It has our descriptors
// but for those to be closed on exec, and is killed when the calling thread ends. If that
// ends in this very moment, it may miss that: nobody outside of a pid namespace has an id
// there, so it can't look who its parent is. With user, both belong to a new user namespace, in
// which it has our user and group and the capabilities in caps.UserNSSet.
func StartInit(args, env []string, user bool) (pid int, err error) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	if user {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		uid, gid := os.Geteuid(), os.Getegid()
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		for set := caps.UserNSSet; set != 0; set &= set - 1 {
			attr.AmbientCaps = append(attr.AmbientCaps, uintptr(bits.TrailingZeros64(uint64(set))))
		}
	}
	pid, _, err = syscall.StartProcess("/proc/self/exe", args, &syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}, Sys: attr})
	if err != nil {
		return 0, fmt.Errorf("start this program again as the init of a pid namespace: %w", err)
	}
	return pid, nil
}

package puppet

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// StartInit starts this very program again, with these arguments and environment, as the
// first process of a new pid namespace, with a new mount namespace. It has our descriptors
// but for those to be closed on exec, and is killed when the calling thread ends. If that
// ends in this very moment, it may miss that: nobody outside of a pid namespace has an id
// there, so it can't look who its parent is.
func StartInit(args, env []string) (pid int, err error) {
	pid, _, err = syscall.StartProcess("/proc/self/exe", args, &syscall.ProcAttr{
		Env: env, Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS},
	})
	if err != nil {
		return 0, fmt.Errorf("start this program again as the init of a pid namespace: %w", err)
	}
	return pid, nil
}

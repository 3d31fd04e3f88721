package puppet

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// StartInside starts this very program again, with these arguments and environment, in the
// namespaces of these kinds (CLONE_NEWPID and the like) in which the process of a pidfd is.
// It has our descriptors but for those to be closed on exec. The calling thread must be
// locked and stay so: what it starts from now on is in those namespaces, too, and
// DieWithParent, which the new process is to call, means this thread.
func StartInside(pidfd int, kinds int, args, env []string) (pid int, err error) {
	if err := unix.Setns(pidfd, kinds); err != nil {
		return 0, fmt.Errorf("enter its namespaces: %w", os.NewSyscallError("setns", err))
	}
	pid, _, err = syscall.StartProcess("/proc/self/exe", args, &syscall.ProcAttr{
		Env: env, Files: []uintptr{0, 1, 2},
		// Not with Pdeathsig, which takes a parent without an id there for dead.
	})
	if err != nil {
		return 0, fmt.Errorf("start this program again inside of a pid namespace: %w", err)
	}
	return pid, nil
}

// DieWithParent makes the kernel kill this process when the thread that started it ends. The
// calling thread must not end before.
func DieWithParent() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0))
}

// StartSibling starts this very program again as another child of the process that started
// this one. It has our descriptors but for those to be closed on exec.
func StartSibling(args, env []string) error {
	_, _, err := syscall.StartProcess("/proc/self/exe", args, &syscall.ProcAttr{
		Env: env, Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT},
	})
	if err != nil {
		return fmt.Errorf("start this program again: %w", err)
	}
	return nil
}

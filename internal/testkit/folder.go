package testkit

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// WithOwnFolder calls run in a mount namespace of its own, in which a folder of the system is a
// new one that only this user may enter, and returns its exit status. For that the test binary is run again.
func WithOwnFolder(path string, run func() int) int {
	const inner = "CKPT_TEST_OWN_FOLDER"
	status, err := 1, error(nil)
	if os.Getenv(inner) != "" {
		if err = ownFolder(path); err == nil {
			return run()
		}
	} else {
		var p *os.Process
		p, err = os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{Env: append(os.Environ(), inner+"=1"),
			Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}})
		var state *os.ProcessState
		if err == nil {
			state, err = p.Wait()
		}
		if err == nil {
			status = state.ExitCode()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return status
}

func ownFolder(path string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return os.NewSyscallError("mount", unix.Mount("own", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"))
}

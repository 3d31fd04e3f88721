package move

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// The records of tests are in a folder that is mounted over that of the system, in a mount
// namespace of the tests' own. The test binary is run again there.
const innerEnv = "CKPT_TEST_MOVE"

func TestMain(m *testing.M) {
	if os.Getenv(innerEnv) == "" {
		os.Exit(again())
	}
	if err := furnish(); err != nil {
		println(err.Error())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func again() int {
	p, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{Env: append(os.Environ(), innerEnv+"=1"),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}})
	if err != nil {
		println(err.Error())
		return 1
	}
	state, err := p.Wait()
	if err != nil {
		return 1
	}
	return state.ExitCode()
}

func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := os.MkdirAll(rootDir, 0o700); err != nil {
		return err
	}
	return unix.Mount("moves", rootDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700")
}

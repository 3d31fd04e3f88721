package tests

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests run in namespaces of their own: what they leave behind ends with them,
// and what they set is not set for the host. Three processes do that, told apart by
// roleEnv: the first, started by go test, starts the init of the namespaces, and init
// starts the tests.
const (
	roleEnv  = "CKPT_TESTS_ROLE"
	roleInit = "init"
	roleTest = "tests"
)

// inOwnNamespaces calls run in the third of the processes, and returns the exit
// status in each.
func inOwnNamespaces(run func() int) int {
	var status int
	var err error
	switch os.Getenv(roleEnv) {
	case "":
		if os.Getuid() != 0 {
			err = fmt.Errorf("these tests checkpoint and restore processes: run them as root")
			break
		}
		defer keepHugePages()()
		// A session of its own, since the leader of the current one has no id in there.
		status, err = become(roleInit, &unix.SysProcAttr{Setsid: true,
			Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET})
	case roleInit:
		if err = furnish(); err == nil {
			status, err = become(roleTest, &unix.SysProcAttr{})
		}
	default:
		return run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

// keepHugePages returns a function that gives back the huge pages that tests reserve
// on the host.
func keepHugePages() func() {
	const file = "/proc/sys/vm/nr_hugepages"
	old, err := os.ReadFile(file)
	if err != nil {
		return func() {} // there are none here
	}
	return func() {
		if now, err := os.ReadFile(file); err == nil && string(now) != string(old) {
			_ = os.WriteFile(file, old, 0)
		}
	}
}

// furnish mounts and sets in the namespaces what the tests need.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return os.NewSyscallError("mount /proc", err)
	}
	// What tests leave there would be found by nobody.
	if err := unix.Mount("shm", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return os.NewSyscallError("mount /dev/shm", err)
	}
	// Records of moves would be seen by the host's.
	if err := os.MkdirAll(recordsDir, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("moves", recordsDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err != nil {
		return os.NewSyscallError("mount "+recordsDir, err)
	}
	return errors.Join(raiseLoopback(), raisePIDMax())
}

// raiseLoopback switches the loopback interface on, the only one there is.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return os.NewSyscallError("ioctl SIOCSIFFLAGS", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req))
}

// raisePIDMax keeps process ids from wrapping around while the tests run: a killed
// target must get its own back, and the tests start thousands of others. Before Linux
// 6.14 the limit is the host's and stays as it is.
func raisePIDMax() error {
	if !ownPIDMax() {
		return nil
	}
	return os.WriteFile(pidMaxFile, []byte("4194304"), 0)
}

const pidMaxFile = "/proc/sys/kernel/pid_max"

func ownPIDMax() bool {
	var uts unix.Utsname
	var major, minor int
	if unix.Uname(&uts) != nil {
		return false
	}
	_, err := fmt.Sscanf(unix.ByteSliceToString(uts.Release[:]), "%d.%d", &major, &minor)
	return err == nil && (major > 6 || major == 6 && minor >= 14)
}

// become runs this program again in a role, passes signals on to it, waits for
// it and for whatever loses its parent on the way, and returns its exit status.
func become(role string, attr *unix.SysProcAttr) (status int, err error) {
	if err := os.Setenv(roleEnv, role); err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP)
	runtime.LockOSThread() // the child dies with the thread that started it
	attr.Pdeathsig = unix.SIGKILL
	p, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: attr})
	if err != nil {
		return 0, err
	}
	go func() {
		for s := range signals {
			_ = unix.Kill(p.Pid, s.(unix.Signal))
		}
	}()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, os.NewSyscallError("wait4", err)
		case pid == p.Pid && ws.Signaled():
			return 128 + int(ws.Signal()), nil
		case pid == p.Pid:
			return ws.ExitStatus(), nil
		}
	}
}

// TestNamespaces checks that the tests see no other processes, and don't set the
// host's limit on process ids.
func TestNamespaces(t *testing.T) {
	if pid, parent := os.Getpid(), os.Getppid(); parent != 1 || pid > 100 {
		t.Errorf("the tests are pid %d, child of pid %d", pid, parent)
	}
	if sid, err := unix.Getsid(0); err != nil || sid != 1 {
		t.Errorf("their session is %d, %v", sid, err)
	}
	if link, err := os.Readlink("/proc/self"); err != nil || link != fmt.Sprint(os.Getpid()) {
		t.Errorf("/proc/self is %s, %v", link, err)
	}
	if !ownPIDMax() {
		return
	}
	if b, err := os.ReadFile(pidMaxFile); err != nil || string(b) != "4194304\n" {
		t.Errorf("process ids go to %s, %v", b, err)
	}
}

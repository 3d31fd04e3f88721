package testkit

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// InNetwork puts the test into a network of its own, with a loopback interface.
func InNetwork(t testing.TB) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread is of no use to others
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("no network namespace: %v", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err == nil {
		req.SetUint16(unix.IFF_UP)
		err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
	}
	if err != nil {
		t.Fatal(err)
	}
}

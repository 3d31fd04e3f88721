//go:build amd64

// Package stub is what tests need that make calls in puppets.
package stub

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/puppet"
	"ckpt/internal/testkit"
)

// Settled returns a puppet with pages of its own.
func Settled(t testing.TB) *puppet.Puppet {
	t.Helper()
	runtime.LockOSThread()
	p := testkit.Must(puppet.StartStub(false))(t)
	t.Cleanup(func() { _ = p.Tracee().Kill() })
	testkit.Check(t, p.Tracee().SetSignalMask(^uint64(0))) // its children may end
	testkit.Check(t, p.Settle(testkit.FreeSpace(t, p.Tracee().PID, puppet.Bytes)))
	return p
}

// Map maps memory in a puppet.
func Map(t testing.TB, p *puppet.Puppet, bytes uint64, prot uint64) uint64 {
	t.Helper()
	return testkit.Must(p.Call(unix.SYS_MMAP, 0, bytes, prot, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uint64(0), 0))(t)
}

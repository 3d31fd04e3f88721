//go:build amd64

package puppet

import (
	"runtime"
	"testing"

	"ckpt/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// settledStub returns a puppet with pages of its own.
func settledStub(t testing.TB) *Puppet {
	t.Helper()
	runtime.LockOSThread()
	p := testkit.Must(StartStub(false))(t)
	t.Cleanup(func() { _ = p.Tracee().Kill() })
	testkit.Check(t, p.t.SetSignalMask(^uint64(0))) // its children may end
	testkit.Check(t, p.Settle(testkit.FreeSpace(t, p.t.PID, Bytes)))
	return p
}

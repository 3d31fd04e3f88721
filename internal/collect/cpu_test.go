package collect

import (
	"encoding/binary"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/puppet"
	"ckpt/internal/testkit"
	"ckpt/internal/tracee"
)

// TestCPU: the header also has registers that only a later thread uses. By the header a
// CPU that lacks them is refused before anything is made.
func TestCPU(t *testing.T) {
	runtime.LockOSThread()
	stub := testkit.Must(puppet.StartStub(false))(t)
	defer stub.Tracee().Kill()
	testkit.Check(t, stub.Settle(1<<40))
	tid := 30_000
	for unix.Kill(tid, 0) != unix.ESRCH {
		tid--
	}
	thread := testkit.Must(stub.CloneThreads([]puppet.NewThread{{TID: tid}}))(t)[0]
	const sse, avx, header = 1 << 1, 1 << 2, 512 // XSTATE_BV
	xstate := testkit.Must(thread.Tracee().XState())(t)
	if enabled, _ := tracee.XFeatures(xstate); enabled&avx == 0 {
		t.Log("this CPU has no AVX")
		return
	}
	set := func(to *puppet.Puppet, features uint64) {
		binary.LittleEndian.PutUint64(xstate[header:], features)
		testkit.Check(t, to.Tracee().SetXState(xstate))
	}
	set(stub, sse)
	set(thread, sse|avx)
	d := newDescription(&tree{})
	testkit.Check(t, d.cpu(&process{threads: []*tracee.Tracee{stub.Tracee(), thread.Tracee()}}))
	if d.header.XFeatures&avx == 0 {
		t.Errorf("in use are %#x", d.header.XFeatures)
	}
	testkit.Check(t, unix.Kill(stub.Tracee().PID, unix.SIGKILL))
	testkit.Check(t, thread.Tracee().AwaitEnd())
}

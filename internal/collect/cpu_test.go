package collect

import (
	"encoding/binary"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/tracee"
)

// TestCPU: the header also has registers that only a later thread uses. By the header a
// CPU that lacks them is refused before anything is made.
func TestCPU(t *testing.T) {
	runtime.LockOSThread()
	stub := must(tracee.StartStub(false))(t)
	defer stub.Tracee().Kill()
	check(t, stub.Settle(1<<40))
	tid := 30_000
	for unix.Kill(tid, 0) != unix.ESRCH {
		tid--
	}
	thread := must(stub.CloneThreads([]tracee.NewThread{{TID: tid}}))(t)[0]
	const sse, avx, header = 1 << 1, 1 << 2, 512 // XSTATE_BV
	xstate := must(thread.Tracee().XState())(t)
	if enabled, _ := tracee.XFeatures(xstate); enabled&avx == 0 {
		t.Log("this CPU has no AVX")
		return
	}
	set := func(to *tracee.Puppet, features uint64) {
		binary.LittleEndian.PutUint64(xstate[header:], features)
		check(t, to.Tracee().SetXState(xstate))
	}
	set(stub, sse)
	set(thread, sse|avx)
	d := newDescription(&tree{})
	check(t, d.cpu(&process{threads: []*tracee.Tracee{stub.Tracee(), thread.Tracee()}}))
	if d.header.XFeatures&avx == 0 {
		t.Errorf("in use are %#x", d.header.XFeatures)
	}
	check(t, unix.Kill(stub.Tracee().PID, unix.SIGKILL))
	check(t, thread.Tracee().AwaitEnd())
}

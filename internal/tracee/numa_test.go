//go:build amd64

package tracee_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/puppet"
	"ckpt/internal/testkit"
	"ckpt/internal/testkit/stub"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// TestMemPolicy: if the kernel knows policies, they are read as they were set.
func TestMemPolicy(t *testing.T) {
	p := stub.Settled(t)
	if got := policy(t, p, tracee.ThreadMemPolicy()); got != nil {
		t.Errorf("%+v", got)
	}
	at := stub.Map(t, p, abi.PageBytes, unix.PROT_READ)
	if got := policy(t, p, tracee.MemPolicyAt(at)); got != nil {
		t.Errorf("%+v", got)
	}
	const bind, local = 2, 4
	for _, want := range []*record.MemPolicy{{Mode: bind, Nodes: []byte{1}}, {Mode: local, Nodes: []byte{}}, nil} {
		err := tracee.SetThreadMemPolicy(p, want)
		if tracee.Errno(err) == unix.ENOSYS {
			t.Log("this kernel knows no NUMA policies")
			break
		}
		testkit.Check(t, err)
		if got := policy(t, p, tracee.ThreadMemPolicy()); !tracee.SameMemPolicy(got, want) {
			t.Errorf("%+v, not %+v", got, want)
		}
		testkit.Check(t, tracee.SetMemPolicyAt(p, at, abi.PageBytes, want))
		if got := policy(t, p, tracee.MemPolicyAt(at)); !tracee.SameMemPolicy(got, want) {
			t.Errorf("%+v, not %+v", got, want)
		}
	}
	for _, bad := range []*record.MemPolicy{{Mode: 0}, {Mode: -1}, {Mode: 1 << 16}, {Mode: 1, Nodes: make([]byte, 129)}} {
		testkit.Says(t, tracee.CheckMemPolicy(bad), tracee.ErrPolicy.Error())
	}
	testkit.Check(t, tracee.CheckMemPolicy(nil))
	testkit.Check(t, tracee.CheckMemPolicy(&record.MemPolicy{Mode: bind, Nodes: []byte{1}}))
	if tracee.SameMemPolicy(nil, &record.MemPolicy{}) || tracee.SameMemPolicy(&record.MemPolicy{Mode: 1}, &record.MemPolicy{Mode: 2}) {
		t.Error("policies that are not the same are")
	}
}

// policy asks a puppet for a memory policy.
func policy(t *testing.T, p *puppet.Puppet, q tracee.Query) *record.MemPolicy {
	t.Helper()
	return testkit.Must(p.Tracee().MemPolicy(testkit.Must(tracee.Ask(p, q))(t)))(t)
}

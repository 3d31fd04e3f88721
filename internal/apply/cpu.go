package apply

import (
	"fmt"

	"ckpt/internal/judge"
	"ckpt/internal/puppet"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// checkCPU makes sure that this CPU has the extended registers that the program uses.
// It returns the size of the xsave area here, which it reads from the stub.
func checkCPU(h *record.Header, stub *puppet.Puppet) (xstateBytes int, err error) {
	xstate, err := stub.Tracee().XState()
	if err != nil {
		return 0, err
	}
	if enabled, _ := tracee.XFeatures(xstate); h.XFeatures&^enabled != 0 {
		return 0, &judge.Refused{Reasons: []error{fmt.Errorf("the program uses CPU registers that this machine lacks (xsave components %#x): restore it on a CPU with at least the features of the original one", h.XFeatures&^enabled)}}
	}
	return len(xstate), nil
}

package apply

import (
	"fmt"

	"ckpt/internal/judge"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// checkCPU compares the extended registers in use with what this CPU has, as
// seen in the stub, and returns the size of their area here, in bytes.
func checkCPU(h *record.Header, stub *tracee.Puppet) (xstateBytes int, err error) {
	xstate, err := stub.Tracee().XState()
	if err != nil {
		return 0, err
	}
	if enabled, _ := tracee.XFeatures(xstate); h.XFeatures&^enabled != 0 {
		return 0, &judge.Refused{Reasons: []error{fmt.Errorf("the program uses CPU registers this machine lacks (xsave components %#x): restore it on a CPU with at least the features of the first", h.XFeatures&^enabled)}}
	}
	return len(xstate), nil
}

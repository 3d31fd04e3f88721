package apply

import (
	"fmt"
	"strings"

	"ckpt/internal/judge"
	"ckpt/internal/puppet"
	"ckpt/internal/tracee"
)

// xarea is the xsave area of threads here.
type xarea struct {
	size       int
	components uint64 // those that are restored
}

// checkCPU makes sure that this CPU has the extended registers that the program uses. What
// it has is read from the stub.
func checkCPU(m *judge.Model, policy judge.CPUPolicy, stub *puppet.Puppet) (*xarea, error) {
	h := &m.Header
	xstate, err := stub.Tracee().XState()
	if err != nil {
		return nil, err
	}
	enabled, _ := tracee.XFeatures(xstate)
	here := &xarea{len(xstate), enabled}
	cpu, err := tracee.OwnCPU()
	if err != nil {
		return nil, err
	}
	elsewhere := h.CPUVendor != "" && h.CPUVendor != cpu.Vendor
	if elsewhere {
		here.components &= tracee.FixedComponents
	}
	lost := h.XFeatures &^ here.components
	if !m.HasPkeys() {
		lost &^= tracee.RightsComponent
	}
	if lost == 0 || policy == judge.CPUIgnore {
		return here, nil
	}
	names := strings.Join(tracee.ComponentNames(lost), ", ")
	if lost&^enabled == 0 {
		return nil, &judge.Refused{Reasons: []error{fmt.Errorf("the program has values in registers (%s) that %s CPUs save in another order than this one of %s: restore it on a CPU of that vendor", names, h.CPUVendor, cpu.Vendor)}}
	}
	return nil, &judge.Refused{Reasons: []error{fmt.Errorf("the program has values in registers that this CPU lacks (%s): restore it on a CPU that has them", names)}}
}

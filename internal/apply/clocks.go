package apply

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
)

// enterTime makes the planned time namespace, in which the stub's children are born.
func (b *builder) enterTime() error {
	p := &b.plan.Clocks
	if p.GoOn == nil && p.Again == nil {
		return nil
	}
	if err := tracee.CallOK(b.stub, "make a time namespace", unix.SYS_UNSHARE, unix.CLONE_NEWTIME); err != nil {
		return err
	}
	offsets := p.Again
	if p.GoOn != nil {
		o, err := task.OffsetsToGoOn(p.GoOn)
		if err != nil {
			return err
		}
		offsets = &o
	}
	if err := proc.WriteTimeOffsets(b.stub.Tracee().PID, *offsets); err != nil {
		return fmt.Errorf("set the clocks of a time namespace: %w", err)
	}
	b.step("in a time namespace, the monotonic clock %v ahead", offsets.Monotonic)
	return nil
}

package apply

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/puppet"
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
	if b.model.IsInit() {
		if err := enterOwnTime(b.stub); err != nil {
			return err
		}
	}
	b.step("in a time namespace, the monotonic clock %v ahead", offsets.Monotonic)
	return nil
}

// enterOwnTime brings a puppet into the time namespace that it has made for its children.
func enterOwnTime(p *puppet.Puppet) error {
	v := p.Vector()
	path := append([]byte("/proc/self/ns/time_for_children"), 0)
	fd := v.Add("open a time namespace", unix.SYS_OPENAT, 0, v.Put(path), unix.O_RDONLY|unix.O_CLOEXEC)
	v.Add("enter a time namespace", unix.SYS_SETNS, 0, unix.CLONE_NEWTIME).From(0, fd)
	v.Add("close", unix.SYS_CLOSE, 0).From(0, fd)
	return v.Run()
}

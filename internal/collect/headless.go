package collect

import (
	"errors"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/puppet"
	"ckpt/internal/task"
	"ckpt/stream/record"
)

var errFirstEnded = errors.New("has ended its first thread while others go on, which can't be saved before Linux 6.9")

// ended blocks a process whose first thread has ended while others go on, if something of
// it can't be found out.
func (d *description) ended(p *process) {
	if !p.headless() {
		return
	}
	status := unix.WaitStatus(p.stat.ExitCode)
	fd, err := unix.PidfdOpen(p.at(), unix.PIDFD_THREAD)
	if err == nil {
		unix.Close(fd)
	}
	switch {
	case err == unix.EINVAL:
		d.blockers.add(p.pid, errFirstEnded)
	case traceDenied(p.pid):
		d.blockers.add(p.pid, errors.New("has ended its first thread while others go on, and that one belongs to another user, so its exit status can't be read: that takes CAP_SYS_PTRACE"))
	case p.threads[0].GroupStop != 0:
		d.blockers.add(p.pid, cli.WithHint(errors.New("has ended its first thread while others go on, and is stopped: until it is continued, the kernel does not tell with which status"), "continue it: kill -CONT"))
	case !puppet.CanEndFirst(status):
		d.blockers.add(p.pid, errors.New("has a first thread that was killed while others go on ("+status.Signal().String()+"), which can't be saved"))
	}
}

// first describes the first thread of a process, if that has ended, by way of another.
func (d *description) first(p *process, c *task.Collector) error {
	if !p.headless() {
		return nil
	}
	f := d.facts[p.pid]
	err := d.emit(record.TypeThread, &record.Thread{PID: p.pid, TID: p.pid, Comm: f.Comm, Refs: d.about[p].refs, Ended: true, Status: p.stat.ExitCode})
	if err != nil || c.Loan == nil {
		return err
	}
	c = c.OfEnded(f)
	for i := range task.Resources {
		if r := &task.Resources[i]; r.First && r.Collect != nil {
			if err := r.Collect(c); err != nil {
				return err
			}
		}
	}
	return nil
}

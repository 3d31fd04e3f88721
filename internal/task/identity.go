package task

import (
	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/stream"
)

// identity: ids, name, and whether the process is stopped. The ids are given
// when the task is made.
var identity = Resource{
	Type: stream.TypeTask,
	Collect: func(c *Collector) error {
		cmdline, err := proc.ReadCmdline(c.PID)
		if err != nil {
			return err
		}
		return c.Emit(stream.TypeTask, &stream.Task{
			PID: c.PID, PPID: c.Stat.PPID, PGID: c.Stat.PGRP, SID: c.Stat.Session,
			StartTime: c.Stat.StartTime, Comm: c.Stat.Comm, Cmdline: cmdline[:min(len(cmdline), 64<<10)],
			StopSig: int(c.Loan.Tracee().GroupStop),
		})
	},
	Restore: func(r *Restorer, rec *stream.Record) error {
		t, err := decode[stream.Task](rec)
		if err != nil {
			return err
		}
		name := append([]byte(t.Comm), 0)
		return poke(r.Puppet, "set its name", name, unix.SYS_PRCTL, unix.PR_SET_NAME, scratchArg, 0, 0, 0)
	},
}

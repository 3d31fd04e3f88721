package task

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/stream"
)

// procAttr: personality, OOM score adjustment, core dump filter, and the nice
// value of the session's scheduling group.
var procAttr = Resource{
	Type:  stream.TypeProcAttr,
	Scope: PerProcess,
	Collect: func(c *Collector) error {
		a := stream.ProcAttr{PID: c.PID}
		var err error
		if a.Personality, err = proc.ReadPersonality(c.PID); err != nil {
			return err
		}
		if a.OOMScoreAdj, err = proc.ReadOOMScoreAdj(c.PID); err != nil {
			return err
		}
		filter, err := proc.ReadCoredumpFilter(c.PID)
		if err != nil {
			return err
		}
		a.CoredumpFilter = uint64(filter)
		if group, err := proc.ReadAutogroup(c.PID); err == nil { // else there are none
			a.Autogroup = group.Nice
		}
		return c.Emit(stream.TypeProcAttr, &a)
	},
	Restore: func(r *Restorer, rec *stream.Record) error {
		a, err := decode[stream.ProcAttr](rec)
		if err != nil {
			return err
		}
		if now, err := proc.ReadPersonality(r.PID); err != nil || now != a.Personality {
			if _, err := r.Puppet.Call(unix.SYS_PERSONALITY, uint64(a.Personality)); err != nil {
				return fmt.Errorf("pid %d: set its personality: %w", r.PID, err)
			}
		}
		if now, err := proc.ReadOOMScoreAdj(r.PID); err != nil || now != a.OOMScoreAdj {
			if err := r.writeProc("oom_score_adj", strconv.Itoa(a.OOMScoreAdj)); err != nil {
				return err
			}
		}
		if now, err := proc.ReadCoredumpFilter(r.PID); err != nil || uint64(now) != a.CoredumpFilter {
			if err := r.writeProc("coredump_filter", fmt.Sprintf("%#x", a.CoredumpFilter)); err != nil {
				return err
			}
		}
		if a.Autogroup == 0 {
			return nil
		}
		return r.setAutogroup(a.Autogroup)
	},
}

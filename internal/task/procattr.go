package task

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// procAttr: personality, OOM score adjustment, core dump filter, and the nice
// value of the session's scheduling group.
var procAttr = row[record.ProcAttr]{
	Type:     record.TypeProcAttr,
	Required: true,
	Scope:    PerProcess,
	Collect: func(c *Collector) error {
		a := record.ProcAttr{PID: c.PID}
		var err error
		if a.Personality, err = proc.ReadPersonality(c.TID); err != nil {
			return err
		}
		if a.OOMScoreAdj, err = proc.ReadOOMScoreAdj(c.PID); err != nil {
			return err
		}
		filter, err := proc.ReadCoredumpFilter(c.TID)
		if err != nil {
			return err
		}
		a.CoredumpFilter = uint64(filter)
		if group, err := proc.ReadAutogroup(c.PID); err == nil { // otherwise the kernel has no autogroups
			a.Autogroup = group.Nice
		}
		return c.Emit(record.TypeProcAttr, &a)
	},
	Check: func(a *record.ProcAttr) []error {
		return append(corruptIf(a.OOMScoreAdj < -1000 || a.OOMScoreAdj > 1000, "an oom_score_adj of %d", a.OOMScoreAdj),
			corruptIf(a.Autogroup < -20 || a.Autogroup > 19, "an autogroup of nice value %d", a.Autogroup)...)
	},
	Here: procAttrHere,
	Restore: func(r *Restorer, a *record.ProcAttr) error {
		if now, err := proc.ReadPersonality(r.PID); err != nil || now != a.Personality {
			r.call("set its personality", unix.SYS_PERSONALITY, uint64(a.Personality))
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
}.resource()

// procAttrHere says which capability the OOM score adjustment takes.
func procAttrHere(h *Host, a *record.ProcAttr) (errs []error) {
	if h.CapEff&(1<<unix.CAP_SYS_RESOURCE) == 0 && !mayScore(a.OOMScoreAdj) {
		errs = h.Need(caps.Of(unix.CAP_SYS_RESOURCE), h.Who(a.PID), fmt.Sprintf("set the oom_score_adj of %%s to %d", a.OOMScoreAdj))
	}
	return errs
}

// mayScore reports whether this process may set an OOM score adjustment without
// CAP_SYS_RESOURCE. The kernel does not show the lowest value allowed, so it is
// tried out.
func mayScore(adj int) bool {
	const name = "/proc/self/oom_score_adj"
	now, err := proc.ReadOOMScoreAdj(os.Getpid())
	if err != nil || adj >= now {
		return true
	}
	err = os.WriteFile(name, []byte(strconv.Itoa(adj)), 0)
	if err == nil {
		_ = os.WriteFile(name, []byte(strconv.Itoa(now)), 0) // raising it is always allowed
	}
	return !errors.Is(err, unix.EACCES)
}

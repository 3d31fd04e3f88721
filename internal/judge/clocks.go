package judge

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/cli"
	"ckpt/internal/proc"
	"ckpt/internal/task"
	"ckpt/stream/record"
)

// What the restored tree's clocks show, apart from the time of day.
const (
	ClockAuto = "auto" // on the same boot the same as before; otherwise like ClockKeep
	ClockKeep = "keep" // they continue from what they showed
	ClockHost = "host" // the same as those of ckpt-apply
)

// ClockPlan is the time namespace in which the tree is made; with neither, ours.
type ClockPlan struct {
	GoOn  *record.Clocks    // a namespace in which the clocks continue from these
	Again *proc.TimeOffsets // a namespace with the offsets of the one it was in
}

// planClocks decides about the clocks. On another boot the monotonic clock started
// from zero again, and all times that the program took from it would be wrong.
func planClocks(h *record.Header, policy string, user *caps.Process, note func(string, ...any)) (p ClockPlan, err error) {
	boot, err := proc.BootID()
	if err != nil || policy == ClockHost {
		return p, err
	}
	c, same := h.Clocks, h.BootID == boot
	if c == nil {
		switch {
		case policy == ClockKeep:
			err = cli.WithHint(errors.New("the image, made by an older version, does not say what the clocks showed"), "--clock host gives the program those of this system")
		case !same:
			note("the image, made by an older version on another boot, does not say what the clocks showed: times that the program remembers will not fit")
		}
		return p, err
	}
	own, err := task.OwnTimeOffsets()
	if err != nil {
		return p, err
	}
	its := proc.TimeOffsets{Monotonic: time.Duration(c.MonotonicOffset), Boottime: time.Duration(c.BoottimeOffset)}
	switch {
	case policy == ClockKeep || !same:
		p.GoOn = c
	case its != own:
		p.Again = &its
	default:
		return p, nil
	}
	return p, canHaveClocks(user)
}

// canHaveClocks returns an error if no time namespace can be made here, as far as
// that can be known beforehand.
func canHaveClocks(own *caps.Process) error {
	const hint = "--clock host gives the program the clocks of this system, which will not fit the times it remembers"
	if _, err := os.Stat("/proc/self/timens_offsets"); err != nil {
		return cli.WithHint(errors.New("the program's clocks can't go on from what they showed: this kernel has no time namespaces (CONFIG_TIME_NS)"), hint)
	}
	if lacks := caps.Of(unix.CAP_SYS_ADMIN, unix.CAP_SYS_TIME) &^ caps.Set(own.CapEff); lacks != 0 {
		return &caps.Missing{Set: lacks, To: "make a time namespace, in which the program's clocks go on from what they showed", Tip: hint}
	}
	return nil
}

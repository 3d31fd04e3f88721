package task

import (
	"bytes"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream/record"
)

const (
	schedResetOnFork = 1 // SCHED_FLAG_RESET_ON_FORK
	ioprioClassRT    = 1
	ioprioClassShift = 13
)

// ownSched is how this process is scheduled, read before anything is made.
var ownSched = sync.OnceValues(func() (*schedNow, error) {
	raw, _, err := readSched(0)
	if err != nil {
		return nil, err
	}
	attr, _, err := decodeSched(&record.Sched{Attr: raw})
	if err != nil {
		return nil, err
	}
	prio, err := sys.IOPrio(0)
	if err != nil {
		return nil, err
	}
	limits, err := proc.ReadLimits(os.Getpid())
	if err != nil {
		return nil, err
	}
	return &schedNow{raw, attr, prio, limits[unix.RLIMIT_NICE].Soft, limits[unix.RLIMIT_RTPRIO].Soft}, nil
})

// schedNow is how a task is scheduled, and how far it may improve that.
type schedNow struct {
	raw          []byte
	attr         *unix.SchedAttr
	ioprio       uint32
	nice, rtprio uint64 // RLIMIT_NICE, RLIMIT_RTPRIO
}

// schedHere says which capabilities it takes to restore a thread's scheduling.
func schedHere(h *Host, s *record.Sched) []error {
	want, _, err := decodeSched(s)
	if err != nil {
		return nil // Check says so
	}
	now, err := ownSched()
	if err != nil {
		return []error{err}
	}
	var errs []error
	if !bytes.Equal(s.Attr, now.raw) && !now.maySet(want) {
		errs = h.Need(caps.Of(unix.CAP_SYS_NICE), h.Who(s.PID), fmt.Sprintf("schedule %%s as it was (%s)", schedText(want)))
	}
	const either = 1<<unix.CAP_SYS_NICE | 1<<unix.CAP_SYS_ADMIN
	if s.IOPrio != now.ioprio && s.IOPrio>>ioprioClassShift == ioprioClassRT && uint64(h.Host())&either == 0 {
		errs = append(errs, h.Need(caps.Of(unix.CAP_SYS_NICE), h.Who(s.PID), "give %s its real-time I/O priority")...)
	}
	return errs
}

// maySet follows user_check_sched_setscheduler of kernel/sched/syscalls.c.
func (n *schedNow) maySet(want *unix.SchedAttr) bool {
	now := n.attr
	switch {
	case now.Flags&schedResetOnFork != 0 && want.Flags&schedResetOnFork == 0:
		return false
	case want.Policy == unix.SCHED_DEADLINE:
		return false
	case want.Policy == unix.SCHED_FIFO || want.Policy == unix.SCHED_RR:
		return (want.Policy == now.Policy || n.rtprio > 0) && (want.Priority <= now.Priority || uint64(want.Priority) <= n.rtprio)
	case want.Nice < now.Nice, now.Policy == unix.SCHED_IDLE && want.Policy != unix.SCHED_IDLE:
		return uint64(20-want.Nice) <= n.nice
	}
	return true
}

func schedText(a *unix.SchedAttr) string {
	switch a.Policy {
	case unix.SCHED_FIFO:
		return fmt.Sprintf("SCHED_FIFO, priority %d", a.Priority)
	case unix.SCHED_RR:
		return fmt.Sprintf("SCHED_RR, priority %d", a.Priority)
	case unix.SCHED_DEADLINE:
		return "SCHED_DEADLINE"
	}
	return fmt.Sprintf("nice value %d", a.Nice)
}

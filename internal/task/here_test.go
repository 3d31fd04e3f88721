package task

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/caps"
	"ckpt/internal/proc"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// host is a process of user 1000 with these capabilities.
func host(set caps.Set) *Host {
	status := proc.Status{Uid: [4]uint32{1000, 1000, 1000, 1000}, Gid: [4]uint32{100, 100, 100, 100}, Groups: []uint32{4, 5},
		CapEff: uint64(set), CapPrm: uint64(set), CapBnd: 1<<41 - 1}
	return &Host{Process: &caps.Process{Status: status}, Who: func(pid int) string { return fmt.Sprintf("pid %d (sh)", pid) }}
}

// lacks returns what a record takes and a host lacks.
func lacks(t *testing.T, h *Host, typ record.Type, meta any) (set caps.Set) {
	t.Helper()
	for _, err := range Find(typ).Here(h, recordOf(t, typ, meta)) {
		missing := new(caps.Missing)
		if !errors.As(err, &missing) {
			t.Errorf("%v", err)
		}
		set |= missing.Set
	}
	return set
}

// TestCredsInUserNS: capabilities of a new user namespace are not those that a process had.
func TestCredsInUserNS(t *testing.T) {
	h := host(0)
	h.Process = h.InUserNS()
	c := record.Creds{PID: 7, TID: 7, UID: []uint32{1000, 1000, 1000, 1000}, GID: []uint32{100, 100, 100, 100}, Groups: []uint32{5, 4}, Dumpable: 1}
	if got := lacks(t, h, record.TypeCreds, &c); got != 0 {
		t.Errorf("lacks %v", got)
	}
	c.Prm = 1 << unix.CAP_SYS_ADMIN
	if got := lacks(t, h, record.TypeCreds, &c); got != caps.Of(unix.CAP_SYS_ADMIN) {
		t.Errorf("lacks %v", got)
	}
}

func TestCredsHere(t *testing.T) {
	same := record.Creds{PID: 7, TID: 7, UID: []uint32{1000, 1000, 1000, 1000}, GID: []uint32{100, 100, 100, 100}, Groups: []uint32{5, 4}, Bnd: 1<<41 - 1, Dumpable: 1}
	for name, c := range map[string]struct {
		change func(c *record.Creds)
		takes  caps.Set
	}{
		"the same":           {func(*record.Creds) {}, 0},
		"a larger bounding":  {func(c *record.Creds) { c.Bnd |= 1 << 50 }, 0},
		"no_new_privs":       {func(c *record.Creds) { c.NoNewPrivs = true }, 0},
		"keeps capabilities": {func(c *record.Creds) { c.Securebits = secbitKeepCaps }, 0},
		"a smaller bounding": {func(c *record.Creds) { c.Bnd = 0 }, caps.Of(unix.CAP_SETPCAP)},
		"securebits":         {func(c *record.Creds) { c.Securebits = 1 }, caps.Of(unix.CAP_SETPCAP)},
		"groups":             {func(c *record.Creds) { c.Groups = []uint32{4} }, caps.Of(unix.CAP_SETGID)},
		"a file system id":   {func(c *record.Creds) { c.UID = []uint32{1000, 1000, 1000, 7} }, caps.Of(unix.CAP_SETUID, unix.CAP_SYS_PTRACE)},
		"a group":            {func(c *record.Creds) { c.GID = []uint32{7, 7, 7, 7} }, caps.Of(unix.CAP_SETGID, unix.CAP_SYS_PTRACE)},
		"another user": {func(c *record.Creds) { c.UID = []uint32{7, 7, 7, 7} },
			caps.Of(unix.CAP_SETUID, unix.CAP_SYS_PTRACE, unix.CAP_KILL)},
		"the effective user": {func(c *record.Creds) { c.UID = []uint32{1000, 7, 1000, 7} }, caps.Of(unix.CAP_SETUID, unix.CAP_SYS_PTRACE)},
		"not dumpable":       {func(c *record.Creds) { c.Dumpable = 0 }, caps.Of(unix.CAP_SYS_PTRACE)},
		"dumpable by root":   {func(c *record.Creds) { c.Dumpable = 2 }, caps.Of(unix.CAP_SYS_PTRACE, unix.CAP_SETUID)},
		"capabilities":       {func(c *record.Creds) { c.Prm = 1 << unix.CAP_NET_RAW }, caps.Of(unix.CAP_NET_RAW)},
		"inheritable ones":   {func(c *record.Creds) { c.Inh = 1 << unix.CAP_NET_RAW }, caps.Of(unix.CAP_SETPCAP)},
	} {
		want := same
		c.change(&want)
		if got := lacks(t, host(0), record.TypeCreds, &want); got != c.takes {
			t.Errorf("%s takes %v, want %v", name, got, c.takes)
		}
		if got := lacks(t, host(c.takes), record.TypeCreds, &want); got != 0 {
			t.Errorf("%s takes %v besides %v", name, got, c.takes)
		}
	}
	h := host(1<<41 - 1)
	h.Securebits = 3 // SECBIT_NOROOT, locked
	if errs := creds.Here(h, recordOf(t, record.TypeCreds, &same)); len(errs) != 1 {
		t.Errorf("locked securebits: %v", errs)
	}
}

func TestTimersHere(t *testing.T) {
	for clock, takes := range map[int]caps.Set{unix.CLOCK_MONOTONIC: 0, unix.CLOCK_BOOTTIME_ALARM: caps.Of(unix.CAP_WAKE_ALARM)} {
		timers := &record.Timers{PID: 7, Timers: []record.Timer{{Clock: clock}}}
		if got := lacks(t, host(0), record.TypeTimers, timers); got != takes {
			t.Errorf("clock %d takes %v", clock, got)
		}
	}
}

func TestIOFlusherHere(t *testing.T) {
	for value, takes := range map[uint64]caps.Set{0: 0, 1: caps.Of(unix.CAP_SYS_RESOURCE)} {
		p := &record.Prctl{PID: 7, TID: 7, Values: []record.PrctlValue{{Name: ioFlusher, Value: value}}}
		if got := lacks(t, host(0), record.TypePrctl, p); got != takes {
			t.Errorf("%d takes %v", value, got)
		}
	}
}

func TestMaySet(t *testing.T) {
	attr := func(policy uint32, nice int32, prio uint32, flags uint64) *unix.SchedAttr {
		return &unix.SchedAttr{Policy: policy, Nice: nice, Priority: prio, Flags: flags}
	}
	normal := attr(unix.SCHED_NORMAL, 5, 0, 0)
	for name, c := range map[string]struct {
		now, want    *unix.SchedAttr
		nice, rtprio uint64
		may          bool
	}{
		"nicer":           {normal, attr(unix.SCHED_BATCH, 6, 0, 0), 0, 0, true},
		"less nice":       {normal, attr(unix.SCHED_NORMAL, 4, 0, 0), 0, 0, false},
		"limit":           {normal, attr(unix.SCHED_NORMAL, -3, 0, 0), 23, 0, true},
		"beyond limit":    {normal, attr(unix.SCHED_NORMAL, -4, 0, 0), 23, 0, false},
		"real-time":       {normal, attr(unix.SCHED_FIFO, 0, 1, 0), 40, 0, false},
		"real-time limit": {normal, attr(unix.SCHED_RR, 0, 9, 0), 0, 9, true},
		"beyond":          {normal, attr(unix.SCHED_RR, 0, 10, 0), 0, 9, false},
		"lower":           {attr(unix.SCHED_RR, 0, 9, 0), attr(unix.SCHED_RR, 0, 8, 0), 0, 0, true},
		"deadline":        {normal, attr(unix.SCHED_DEADLINE, 0, 0, 0), 40, 99, false},
		"idle":            {normal, attr(unix.SCHED_IDLE, 5, 0, 0), 0, 0, true},
		"no longer idle":  {attr(unix.SCHED_IDLE, 5, 0, 0), normal, 0, 0, false},
		"reset on fork":   {attr(unix.SCHED_NORMAL, 5, 0, schedResetOnFork), normal, 40, 99, false},
	} {
		if got := (&schedNow{attr: c.now, nice: c.nice, rtprio: c.rtprio}).maySet(c.want); got != c.may {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestLimitsHere: one limit not even root can raise.
func TestLimitsHere(t *testing.T) {
	most, err := proc.ReadSysctl("fs/nr_open")
	if err != nil {
		t.Fatal(err)
	}
	for hard, says := range map[uint64]string{uint64(most): "", uint64(most) + 1: "fs.nr_open", unix.RLIM_INFINITY: "of unlimited, and this system allows at most"} {
		l := &record.Limits{PID: 7, Limits: make([]record.Limit, len(rlimitNames))}
		l.Limits[unix.RLIMIT_NOFILE].Hard = hard
		errs := Find(record.TypeLimits).Here(host(caps.Of(unix.CAP_SYS_RESOURCE)), recordOf(t, record.TypeLimits, l))
		if says == "" && errs != nil || says != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), says)) {
			t.Errorf("%d: %v", hard, errs)
		}
	}
}

// TestItimersOf: ITIMER_REAL counts as armed while its signal is pending.
func TestItimersOf(t *testing.T) {
	answer := func(interval, value uint64) tracee.Answer {
		return tracee.Answer{Data: abi.Bytes(interval, 0, value, 0)}
	}
	for _, c := range []struct {
		real, virtual tracee.Answer
		waits         bool
		want          []record.Itimer
	}{
		{answer(0, 0), answer(0, 0), true, nil},
		{answer(2, 0), answer(2, 0), false, nil},
		{answer(2, 0), answer(2, 0), true, []record.Itimer{{ValueUS: 1, IntervalUS: 2e6}}},
		{answer(2, 1), answer(0, 3), true, []record.Itimer{{ValueUS: 1e6, IntervalUS: 2e6}, {Which: 1, ValueUS: 3e6}}},
	} {
		got, err := itimersOf(7, []tracee.Answer{c.real, c.virtual, answer(0, 0)}, c.waits)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v, %v, not %v", got, err, c.want)
		}
	}
}

package task

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/kcmp"
	"ckpt/internal/proc"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

const (
	prSetMM        = 35
	prSetMMMap     = 14
	auxvMaxBytes   = 52 * 8 // AT_VECTOR_SIZE of x86-64 and more, see struct mm_struct
	prctlMMMapSize = 13*8 + 16
)

// layout: what the kernel records about an address space besides its mappings, and
// the executable.
var layout = row[record.MM]{
	Type:  record.TypeMM,
	Scope: Shared,
	Asks: func(*Collector) []tracee.Query {
		return append(askPkeys(), getBreak, getMembarrier, tracee.AnyLDT())
	},
	Collect: func(c *Collector) error {
		auxv, err := proc.ReadAuxv(c.TID)
		if err != nil {
			return err
		}
		brk, _, err := c.result(getBreak)
		if err != nil {
			return fmt.Errorf("pid %d: read its break: %w", c.PID, err)
		}
		exe, err := c.DescribeLink(proc.Path(c.TID, "exe"))
		if err != nil {
			return err
		}
		future, err := locksFuture(c)
		if err != nil {
			return err
		}
		s := &c.Stat
		m := &record.MM{
			Object: c.object(kcmp.VM), PID: c.PID, StartCode: s.StartCode, EndCode: s.EndCode, StartData: s.StartData, EndData: s.EndData,
			StartBrk: s.StartBrk, Brk: brk, StartStack: s.StartStack, ArgStart: s.ArgStart, ArgEnd: s.ArgEnd,
			EnvStart: s.EnvStart, EnvEnd: s.EnvEnd, Auxv: auxv, LockFuture: future, Refs: record.ExeRef{Exe: exe},
		}
		if err := c.readMMState(m); err != nil {
			return err
		}
		return c.Emit(record.TypeMM, m)
	},
	Check: func(m *record.MM) []error {
		var err error
		if m.LockFuture&^(unix.MCL_FUTURE|mclOnfault) != 0 {
			err = fmt.Errorf("%w: future mappings locked with flags %#x", stream.ErrCorrupt, m.LockFuture)
		}
		if err == nil && len(m.Auxv) > auxvMaxBytes {
			err = fmt.Errorf("auxiliary vector of %d bytes, at most %d are allowed", len(m.Auxv), auxvMaxBytes)
		}
		if err != nil {
			return []error{err}
		}
		return checkMMState(m)
	},
	Here:    pkeysHere,
	Restore: restoreLayout,
}.resource()

var getBreak = query(0, unix.SYS_BRK, 0)

// restoreLayout sets everything with PR_SET_MM_MAP, see struct prctl_mm_map in uapi
// linux/prctl.h. The kernel refuses a new executable while the old one is mapped.
func restoreLayout(r *Restorer, m *record.MM) error {
	exe, err := r.Open(m.Refs.Exe, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer exe.Close()
	fd, err := r.give(exe)
	if err != nil {
		return err
	}
	auxv := r.Auxv(m.Auxv)
	at := r.vector().Room(prctlMMMapSize + len(auxv))
	arg := abi.Bytes(m.StartCode, m.EndCode, m.StartData, m.EndData, m.StartBrk, m.Brk, m.StartStack,
		m.ArgStart, m.ArgEnd, m.EnvStart, m.EnvEnd, at+prctlMMMapSize, uint64(len(auxv))|uint64(uint32(fd))<<32)
	arg = append(arg, make([]byte, prctlMMMapSize-len(arg))...)
	arg = append(arg, auxv...)
	r.vector().Set(at, arg)
	r.call("set its memory layout", unix.SYS_PRCTL, prSetMM, prSetMMMap, at, 13*8, 0)
	r.call("close", unix.SYS_CLOSE, uint64(fd))
	if err := r.Make(); err != nil { // there may be room for only one descriptor
		return err
	}
	if err := r.restoreMMState(m); err != nil {
		return err
	}
	if m.LockFuture != 0 {
		r.call("lock its future mappings", unix.SYS_MLOCKALL, uint64(m.LockFuture))
	}
	return nil
}

// mclOnfault is MCL_ONFAULT, see mlockall(2).
const mclOnfault = 4

// locksFuture finds out whether a process locks its future mappings: then the
// scratch memory of the loan, which is new, is locked.
func locksFuture(c *Collector) (int, error) {
	if c.Loan.Tight() {
		return locksFutureTight(c)
	}
	now, err := proc.ReadStatus(c.TID)
	if err != nil || now.VmLck == c.Status.VmLck {
		return 0, err
	}
	maps, err := proc.ReadMappings(c.TID)
	if err != nil {
		return 0, err
	}
	for i := range maps {
		switch m := &maps[i]; {
		case m.Start != c.Loan.Scratch().Addr || !m.VmFlags.Has("lo"):
		case m.VmFlags.Has("lf"):
			return unix.MCL_FUTURE | mclOnfault, nil
		default:
			return unix.MCL_FUTURE, nil
		}
	}
	return 0, nil
}

// locksFutureTight is for a process that can't map anything more. A mapping larger
// than RLIMIT_MEMLOCK fails with another error if it would be locked. Whether
// MCL_ONFAULT is set is taken from what is locked already.
func locksFutureTight(c *Collector) (int, error) {
	l, err := proc.ReadLimits(c.PID)
	if err != nil {
		return 0, err
	}
	const mayLock = 1 << unix.CAP_IPC_LOCK
	limit := l[unix.RLIMIT_MEMLOCK].Soft
	if limit >= 1<<40 || c.Status.CapEff&mayLock != 0 {
		if c.Status.VmLck > 0 {
			c.Block(&tightError{"has locked memory (mlock), and may have locked its future mappings, too (MCL_FUTURE)"})
		}
		return 0, nil
	}
	n := limit&^(abi.PageBytes-1) + 16*abi.PageBytes
	at, err := c.Loan.Call(unix.SYS_MMAP, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uint64(0), 0)
	switch err {
	case nil: // there is room again; it is not locked, or the limit would have forbidden it
		return 0, tracee.CallOK(c.Loan, "unmap what was mapped", unix.SYS_MUNMAP, at, n)
	case unix.ENOMEM:
		return 0, nil
	case unix.EAGAIN:
	default:
		return 0, fmt.Errorf("pid %d: find out whether future mappings are locked: %w", c.PID, err)
	}
	maps, err := proc.ReadMappings(c.TID)
	flags := unix.MCL_FUTURE
	for i := range maps {
		if maps[i].VmFlags.Has("lf") {
			flags |= mclOnfault
		}
	}
	return flags, err
}

// tightError: something can't be found out because nothing more can be mapped.
type tightError struct{ what string }

func (e *tightError) Error() string {
	return e.what + ", which can't be looked at, because its limits leave no room for 64 KiB more memory"
}

// Hint says how to make room.
func (e *tightError) Hint() string {
	return "raise its limits for the time being: prlimit --pid PID --as=unlimited --data=unlimited"
}

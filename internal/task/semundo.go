package task

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/kcmp"
	"ckpt/internal/loan"
	"ckpt/internal/proc"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// A semaphore undo list holds what the kernel adds to semaphores when the last task
// that has the list ends, see SEM_UNDO in semop(2). No call tells what is on it. But
// an array of operations is performed as a whole or not at all, and it fails with
// ERANGE if an adjustment would leave its range. So we try arrays that fail in any
// case: which error they fail with tells the adjustment, and neither the value of a
// semaphore nor its last pid changes. To change an adjustment and nothing else, we
// use two operations that cancel each other out, one of them with SEM_UNDO. SETVAL
// would change it, too, but for all processes.

// struct sembuf and limits of uapi linux/sem.h.
const (
	semUndoFlag   = 0x1000
	semGetVal     = 12
	semMax        = 32767 // SEMVMX and SEMAEM
	maxSemOps     = 500   // SEMOPM
	maxSemaphores = 8192  // that are looked at
	maxRaces      = 100
)

type semOp struct {
	num   int
	op    int
	flags int
}

// semop calls semop(2) with operations that don't wait. at is an offset in the
// scratch memory.
func semop(c tracee.Caller, set, at int, ops ...semOp) error {
	addr, err := writeOps(c, at, ops)
	if err != nil {
		return err
	}
	_, err = c.Call(unix.SYS_SEMOP, uint64(set), addr, uint64(len(ops)))
	return err
}

func writeOps(c tracee.Caller, at int, ops []semOp) (uint64, error) {
	var buf []byte
	for _, o := range ops {
		for _, v := range []int{o.num, o.op, o.flags | unix.IPC_NOWAIT} {
			buf = binary.LittleEndian.AppendUint16(buf, uint16(v))
		}
	}
	addr := c.Scratch().Addr + uint64(at)
	return addr, c.Tracee().WriteMem(addr, buf)
}

func semValue(c tracee.Caller, set, num int) (int, error) {
	v, err := c.Call(unix.SYS_SEMCTL, uint64(set), uint64(num), semGetVal, 0)
	return int(v), err
}

// outOfRange reports whether operations fail with ERANGE; they must be such that they
// fail in any case.
func outOfRange(c tracee.Caller, set int, ops ...semOp) (bool, error) {
	switch err := semop(c, set, 0, ops...); err {
	case unix.ERANGE:
		return true, nil
	case unix.EAGAIN:
		return false, nil
	case nil:
		return false, errors.New("semop(2) succeeded with operations that must fail")
	default:
		return false, err
	}
}

// up reports whether the adjustment plus k, 1 to semMax, is more than semMax.
func up(c tracee.Caller, set, num, value, k int) (bool, error) {
	ops := []semOp{{num, semMax - value, 0}, {num, -k, semUndoFlag}, {num, 1, 0}, {num, 0, 0}}
	if value == semMax {
		ops = ops[1:]
	}
	return outOfRange(c, set, ops...)
}

// down reports whether the adjustment minus k, 1 to semMax+1, is less than -semMax-1.
func down(c tracee.Caller, set, num, value, k int) (bool, error) {
	var ops []semOp
	if value > 0 {
		ops = append(ops, semOp{num, -value, 0})
	}
	ops = append(ops, semOp{num, min(k, semMax), semUndoFlag})
	if k > semMax {
		ops = append(ops, semOp{num, -semMax, 0}, semOp{num, k - semMax, semUndoFlag})
	}
	return outOfRange(c, set, append(ops, semOp{num, 0, 0})...)
}

// adjustment returns what is on the task's undo list for a semaphore.
func adjustment(c tracee.Caller, set, num int) (int, error) {
	for range maxRaces {
		value, err := semValue(c, set, num)
		if err != nil {
			return 0, err
		}
		adj, err := adjustmentAt(c, set, num, value)
		if err != nil {
			return 0, err
		}
		// If others changed the value meanwhile, the result is wrong.
		if again, err := semValue(c, set, num); err != nil || again == value {
			return adj, err
		}
	}
	return 0, errors.New("other processes keep changing its value")
}

func adjustmentAt(c tracee.Caller, set, num, value int) (int, error) {
	search := func(most int, over func(tracee.Caller, int, int, int, int) (bool, error)) (int, error) {
		over1, err := over(c, set, num, value, most)
		if err != nil || !over1 {
			return 0, err
		}
		low, high := 0, most // over(high), not over(low)
		for high-low > 1 {
			mid := (low + high) / 2
			is, err := over(c, set, num, value, mid)
			if err != nil {
				return 0, err
			}
			if is {
				high = mid
			} else {
				low = mid
			}
		}
		return most - low, nil
	}
	plus, err := search(semMax, up)
	if err != nil || plus > 0 {
		return plus, err
	}
	minus, err := search(semMax+1, down)
	return -minus, err
}

// adjustOps returns operations that add by to the adjustment of a semaphore and
// leave its value as it is.
func adjustOps(num, value, by int) []semOp {
	if part := max(-semMax, min(by, semMax)); part != by {
		return append(adjustOps(num, value, part), adjustOps(num, value, by-part)...)
	}
	with, without := semOp{num, -by, semUndoFlag}, semOp{num, by, 0}
	if v := value - by; v < 0 || v > semMax {
		return []semOp{without, with}
	}
	return []semOp{with, without}
}

// semUndo: what is on a semaphore undo list.
var semUndo = row[record.SemUndo]{
	Type:  record.TypeSemUndo,
	Scope: Shared,
	Collect: func(c *Collector) error {
		rec := record.SemUndo{Object: c.object(kcmp.SysVSem), TID: c.TID}
		sets, err := proc.ReadSems()
		if err != nil {
			return err
		}
		looked, denied := 0, []string{}
		for _, set := range sets {
			for num := range set.Sems {
				if looked++; looked > maxSemaphores {
					c.Block(fmt.Errorf("has a semaphore undo list, and there are more than %d semaphores (System V) to look at", maxSemaphores))
					return nil
				}
				adj, err := adjustment(c.Loan, set.ID, num)
				if err == unix.EACCES { // it may have lost the right after an operation
					denied = append(denied, fmt.Sprint(set.ID))
				}
				if err == unix.EACCES || err == unix.EINVAL || err == unix.EIDRM {
					break // the task may not change it, or it was removed meanwhile
				}
				if err != nil {
					return fmt.Errorf("pid %d (%s): semaphore %d of set %d (System V): %w", c.PID, c.Stat.Comm, num, set.ID, err)
				}
				if adj != 0 {
					rec.Adjust = append(rec.Adjust, record.SemAdjust{Key: set.Key, Set: set.ID, Sems: set.Sems, Num: num, Adjust: adj})
				}
			}
		}
		if len(denied) > 0 {
			c.Note("pid %d (%s) has a semaphore undo list, and may not change the semaphores of set %s (System V): if it could before it became another user, their undo values are lost",
				c.PID, c.Stat.Comm, strings.Join(denied, ", "))
		}
		if err := c.Emit(record.TypeSemUndo, &rec); err != nil || c.Keep == nil || c.OwnIPC {
			return err
		}
		for i, adjust := range bySet(rec.Adjust) {
			switch {
			case c.Loan.Tight() && 2*len(adjust)*abi.SembufBytes > undoAreaBytes(c.Loan)/2:
				c.Block(&tightError{"has semaphores (System V) on its undo list, which its end would change"})
				return nil
			case len(adjust) > maxSemOps/4:
				c.Block(fmt.Errorf("has more than %d semaphores of set %d (System V) on its undo list, which its end would change: use --leave running", maxSemOps/4, adjust[0].Set))
				return nil
			}
			c.Keep(Keep{TID: c.TID, Anyone: true, Do: func(l *loan.Loan) error { return clearUndo(l, i, adjust) }})
		}
		return nil
	},
	Check: func(u *record.SemUndo) []error {
		return checkUndo(u)
	},
	Last: func(r *Restorer, u *record.SemUndo) (undo func() error, err error) {
		var done []record.SemAdjust
		undo = func() error {
			var errs []error
			for _, a := range done {
				errs = append(errs, adjust(r.Puppet, a.Set, a.Num, -a.Adjust))
			}
			return errors.Join(errs...)
		}
		for _, a := range u.Adjust {
			if err := adjust(r.Puppet, a.Set, a.Num, a.Adjust); err != nil {
				return nil, errors.Join(fmt.Errorf("pid %d: restore its undo value for semaphore %d of set %d (System V): %w", r.PID, a.Num, a.Set, err), undo())
			}
			done = append(done, a)
		}
		return undo, nil
	},
}.resource()

// checkUndo returns an error for semaphores that don't exist here.
func checkUndo(u *record.SemUndo) (errs []error) {
	if len(u.Adjust) == 0 {
		return nil
	}
	sets, err := proc.ReadSems()
	if err != nil {
		return []error{err}
	}
	return checkUndoOf(u, sets)
}

// CheckSemUndo is the check of a SEMUNDO record where these are all semaphores.
func CheckSemUndo(rec *stream.Record, sets []proc.Sem) []error {
	u, err := decode[record.SemUndo](rec)
	if err != nil {
		return []error{err}
	}
	return checkUndoOf(u, sets)
}

func checkUndoOf(u *record.SemUndo, sets []proc.Sem) (errs []error) {
	for _, a := range bySet(u.Adjust) {
		i := slices.IndexFunc(sets, func(s proc.Sem) bool { return s.ID == a[0].Set })
		for _, v := range a {
			if v.Num < 0 || v.Num >= v.Sems || v.Adjust > semMax || v.Adjust < -semMax-1 {
				return append(errs, fmt.Errorf("%w: semaphore %d of %d, to be adjusted by %d", stream.ErrCorrupt, v.Num, v.Sems, v.Adjust))
			}
		}
		if i < 0 || sets[i].Key != a[0].Key || sets[i].Sems != a[0].Sems {
			errs = append(errs, fmt.Errorf("pid %d uses set %d of semaphores (System V, key %#x, %d semaphores), which does not exist here", u.TID, a[0].Set, uint32(a[0].Key), a[0].Sems))
		}
	}
	return errs
}

// bySet splits adjustments, which come set by set, into one list for each set.
func bySet(all []record.SemAdjust) (sets [][]record.SemAdjust) {
	for i, a := range all {
		if i == 0 || a.Set != all[i-1].Set {
			sets = append(sets, nil)
		}
		sets[len(sets)-1] = append(sets[len(sets)-1], a)
	}
	return sets
}

// adjust adds by to the adjustment of a semaphore.
func adjust(c tracee.Caller, set, num, by int) error {
	for range maxRaces {
		value, err := semValue(c, set, num)
		if err != nil {
			return err
		}
		switch err := semop(c, set, 0, adjustOps(num, value, by)...); err {
		case unix.ERANGE, unix.EAGAIN: // the value has changed
		default:
			return err
		}
	}
	return errors.New("other processes keep changing its value")
}

// undoAreaBytes is the size of an area in the scratch memory that holds the
// operations for one set and their reverse.
func undoAreaBytes(l *loan.Loan) int {
	return min(2*maxSemOps*abi.SembufBytes, int(l.Scratch().Len)/loan.MaxBack)
}

// clearUndo removes one set's adjustments from the undo list, so that the
// semaphores stay as they are when the task ends. area is the number of an area in
// the scratch memory.
func clearUndo(l *loan.Loan, area int, all []record.SemAdjust) error {
	areaBytes := undoAreaBytes(l)
	set := all[0].Set
	for range maxRaces {
		var forth, back []semOp
		for _, a := range all {
			value, err := semValue(l, set, a.Num)
			if err != nil {
				return err
			}
			forth = append(forth, adjustOps(a.Num, value, -a.Adjust)...)
			back = append(back, adjustOps(a.Num, value, a.Adjust)...)
		}
		there, err := writeOps(l, area*areaBytes, forth)
		if err != nil {
			return err
		}
		home, err := writeOps(l, area*areaBytes+areaBytes/2, back)
		if err != nil {
			return err
		}
		n := uint64(len(forth))
		err = l.CallAndBack(unix.SYS_SEMOP, []uint64{uint64(set), there, n}, unix.SYS_SEMOP, []uint64{uint64(set), home, n})
		switch tracee.Errno(err) {
		case unix.ERANGE, unix.EAGAIN: // the value has changed
		default:
			return err
		}
	}
	return errors.New("other processes keep changing its value")
}

package task

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/sys"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// userPtrs: the robust futex list, and the address that is cleared when the thread
// ends.
var userPtrs = row[record.UserPtrs]{
	Type:     record.TypeUserPtrs,
	Required: true,
	Asks:     func(*Collector) []tracee.Query { return []tracee.Query{tidAddress} },
	Collect: func(c *Collector) error {
		head, length, err := sys.GetRobustList(c.TID)
		if err != nil {
			return fmt.Errorf("pid %d: robust futex list: %w", c.TID, err)
		}
		if err := keepRobust(c, head, length); err != nil {
			return err
		}
		_, b, err := c.result(tidAddress)
		if err != nil {
			return fmt.Errorf("pid %d: address cleared at its end: %w", c.TID, err)
		}
		return c.Emit(record.TypeUserPtrs, &record.UserPtrs{PID: c.PID, TID: c.TID,
			RobustList: head, RobustLen: length, ClearChildTID: binary.LittleEndian.Uint64(b)})
	},
	Check: func(u *record.UserPtrs) []error {
		return corruptIf(u.RobustList != 0 && u.RobustLen != abi.RobustHeadBytes, "a robust futex list whose head has %d bytes", u.RobustLen)
	},
	Restore: func(r *Restorer, u *record.UserPtrs) error {
		if err := newTID(r, u); err != nil {
			return err
		}
		if u.RobustList != 0 {
			r.call("set its robust futex list", unix.SYS_SET_ROBUST_LIST, u.RobustList, u.RobustLen)
		}
		r.call("set the address cleared at its end", unix.SYS_SET_TID_ADDRESS, u.ClearChildTID)
		return nil
	},
}.resource()

// tidAddress asks for the address that is cleared when the thread ends.
var tidAddress = query(8, unix.SYS_PRCTL, unix.PR_GET_TID_ADDRESS, scratchArg, 0, 0, 0)

package task

import (
	"encoding/binary"
	"fmt"

	"ckpt/internal/cli"
	"ckpt/stream/record"
)

// KeepIDs is the hint for a program that must have its own ids.
const KeepIDs = "keep its ids: ckpt-read < img | ckpt-apply --pids namespace"

// newTID gives the memory of a thread that has another id than before what clone(2) gives
// that of a new one (CLONE_CHILD_SETTID): GNU libc keeps a thread's id there. A mutex that
// the thread holds is another matter.
func newTID(r *Restorer, u *record.UserPtrs) error {
	if r.WasTID == r.TID {
		return nil
	}
	t := r.Puppet.Tracee()
	if word := make([]byte, 4); u.ClearChildTID != 0 && t.ReadMem(u.ClearChildTID, word) == nil && int(binary.LittleEndian.Uint32(word)) == r.WasTID {
		if err := t.WriteMem(u.ClearChildTID, binary.LittleEndian.AppendUint32(nil, uint32(r.TID))); err != nil {
			return err
		}
	}
	held := uint64(0)
	walkRobust(t, u.RobustList, func(word uint64, _ bool) {
		const tidMask = 0x3fffffff // FUTEX_TID_MASK
		b := make([]byte, 4)
		if t.ReadMem(word, b) == nil && int(binary.LittleEndian.Uint32(b)&tidMask) == r.WasTID {
			held = word
		}
	})
	if held != 0 {
		return cli.WithHint(fmt.Errorf("pid %d, thread %d: it holds a robust mutex, at %x, in which its id stands that would be another", r.PID, r.WasTID, held),
			KeepIDs)
	}
	return nil
}

package task

import (
	"golang.org/x/sys/unix"

	"ckpt/stream/record"
)

// identity: the name. The ids are set when the task is made.
var identity = row[record.Thread]{
	Type:  record.TypeThread,
	First: true,
	Check: anything[record.Thread],
	Restore: func(r *Restorer, t *record.Thread) error {
		name := append([]byte(t.Comm), 0)
		r.callWith("set its name", name, unix.SYS_PRCTL, unix.PR_SET_NAME, scratchArg, 0, 0, 0)
		return nil
	},
}.resource()

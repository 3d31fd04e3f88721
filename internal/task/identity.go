package task

import (
	"golang.org/x/sys/unix"

	"ckpt/stream"
)

// identity: the name. The ids are given when the task is made.
var identity = Resource{
	Type: stream.TypeThread,
	Restore: func(r *Restorer, rec *stream.Record) error {
		t, err := decode[stream.Thread](rec)
		if err != nil {
			return err
		}
		name := append([]byte(t.Comm), 0)
		r.poke("set its name", name, unix.SYS_PRCTL, unix.PR_SET_NAME, scratchArg, 0, 0, 0)
		return nil
	},
}

package task

import (
	"ckpt/internal/kcmp"
	"ckpt/stream/record"
)

// ioCtx: that there is an I/O context, and who shares it. Its content, the
// priority, is in SCHED.
var ioCtx = row[record.IOCtx]{
	Type:  record.TypeIOCtx,
	Scope: Shared,
	Collect: func(c *Collector) error {
		return c.Emit(record.TypeIOCtx, &record.IOCtx{Object: c.object(kcmp.IO), TID: c.TID})
	},
	Check: anything[record.IOCtx],
}.resource()

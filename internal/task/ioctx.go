package task

import (
	"ckpt/internal/kcmp"
	"ckpt/stream"
)

// ioCtx is that there is an I/O context, and who shares it. What it holds, the
// priority, is in SCHED.
var ioCtx = row[stream.IOCtx]{
	Type:  stream.TypeIOCtx,
	Scope: Shared,
	Collect: func(c *Collector) error {
		return c.Emit(stream.TypeIOCtx, &stream.IOCtx{Object: c.object(kcmp.IO), PID: c.TID})
	},
	Check: anything[stream.IOCtx],
}.resource()

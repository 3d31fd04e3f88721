package task

import (
	"golang.org/x/sys/unix"

	"ckpt/stream"
)

// rseq: the registration of restartable sequences. A thread caught inside one
// has been moved to its abort handler when it was borrowed.
var rseq = Resource{
	Type: stream.TypeRseq,
	Collect: func(c *Collector) error {
		conf, err := c.Loan.Tracee().RseqConfiguration()
		if err != nil || conf.Addr == 0 {
			return err
		}
		return c.Emit(stream.TypeRseq, &stream.Rseq{PID: c.PID, TID: c.TID, Addr: conf.Addr, Size: conf.Size, Signature: conf.Signature})
	},
	Restore: func(r *Restorer, rec *stream.Record) error {
		q, err := decode[stream.Rseq](rec)
		if err != nil {
			return err
		}
		r.call("register its rseq area", unix.SYS_RSEQ, q.Addr, uint64(q.Size), 0, uint64(q.Signature))
		return nil
	},
}

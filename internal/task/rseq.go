package task

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// rseq: the registration of restartable sequences. A thread that was stopped inside
// one was moved to its abort handler when the loan began.
var rseq = row[record.Rseq]{
	Type: record.TypeRseq,
	Collect: func(c *Collector) error {
		conf, err := c.Loan.Tracee().RseqConfiguration()
		if err != nil || conf.Addr == 0 {
			return err
		}
		return c.Emit(record.TypeRseq, &record.Rseq{PID: c.PID, TID: c.TID, Addr: conf.Addr, Size: conf.Size, Signature: conf.Signature})
	},
	Check: func(q *record.Rseq) []error {
		return corruptIf(q.Addr == 0 || q.Addr%abi.RseqBytes != 0 || q.Size < abi.RseqBytes || q.Addr > 1<<63-uint64(q.Size), "an rseq area of %d bytes at %#x", q.Size, q.Addr)
	},
	Here: func(h *Host, q *record.Rseq) []error {
		if q.Size == abi.RseqBytes {
			return nil
		}
		switch takes, err := sys.TakesRseq(q.Addr, q.Size); {
		case err != nil:
			return []error{err}
		case !takes:
			return []error{fmt.Errorf("%s has an rseq area of %d bytes, which this kernel does not know", h.Who(q.TID), q.Size)}
		}
		return nil
	},
	Restore: func(r *Restorer, q *record.Rseq) error {
		r.call("register its rseq area", unix.SYS_RSEQ, q.Addr, uint64(q.Size), 0, uint64(q.Signature))
		return nil
	},
}.resource()

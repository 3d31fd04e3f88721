package files

import (
	"fmt"

	"ckpt/stream"
	"ckpt/stream/record"
)

// Decide decides what of the user's takes the place of what, and says what nobody
// decided. It comes before the check of each record.
func (r *Restorer) Decide(objects []*stream.Record, fds []record.FD) (errs []error) {
	if !r.Paper {
		r.plan, errs = r.makePlan(objects, fds)
	}
	return errs
}

// checkFile says what of a description can't be. Positions may be anything: a
// folder's are what its file system likes.
func checkFile(rec *stream.Record) []error {
	f, err := decode[record.File](rec)
	if err != nil {
		return []error{err}
	}
	const lastOwner, lastSignal = 2, 64 // F_OWNER_PGRP, _NSIG
	if o := f.Owner; f.Sig < 0 || f.Sig > lastSignal || o != nil && (o.Type < 0 || o.Type > lastOwner || o.PID < 0 || o.PID > maxPID) {
		return []error{fmt.Errorf("%w: an open file description with signal %d and owner %+v", stream.ErrCorrupt, f.Sig, f.Owner)}
	}
	return nil
}

// CheckTable says what in a table of descriptors, in ascending order, can't be.
func CheckTable(fds []record.FD, locks []record.Lock) (errs []error) {
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{stream.ErrCorrupt}, args...)...))
	}
	for i, fd := range fds {
		if fd.FD < 0 || fd.FD > maxFD || i > 0 && fd.FD == fds[i-1].FD {
			bad("descriptor %d, which there can't be, or which stands twice", fd.FD)
		}
	}
	for _, l := range locks {
		if l.FD < 0 || l.FD > maxFD || l.Start < 0 || l.Len < 0 || l.Kind != record.LockFlock && l.Kind != record.LockOFD && l.Kind != record.LockPosix {
			bad("lock of kind %q on descriptor %d, of %d bytes from %d on", l.Kind, l.FD, l.Len, l.Start)
		}
	}
	return errs
}

// maxFD is above what fs.nr_open may be. What it is here package judge asks.
const maxFD = 1 << 30

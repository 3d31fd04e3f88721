package files

import (
	"fmt"

	"ckpt/stream"
	"ckpt/stream/record"
)

// Decide finds out what the user wants replaced by what, and returns an error for
// everything that must be replaced and is not. It is called before the records
// are checked one by one.
func (r *Restorer) Decide(objects []*stream.Record, fds []record.FD) (errs []error) {
	if !r.Paper {
		r.replacements, errs = r.decide(objects, fds)
	}
	return errs
}

// checkFile returns what is impossible in a description. A position may be
// anything: for a folder it is whatever its file system likes.
func (r *Restorer) checkFile(rec *stream.Record) []error {
	f, err := decoded[record.File](rec)
	if err != nil {
		return []error{err}
	}
	const lastOwner, lastSignal = 2, 64 // F_OWNER_PGRP, _NSIG
	if o := f.Owner; f.Sig < 0 || f.Sig > lastSignal || o != nil && (o.Type < 0 || o.Type > lastOwner || o.PID < 0 || o.PID > maxPID) {
		return []error{fmt.Errorf("%w: an open file description with signal %d and owner %+v", stream.ErrCorrupt, f.Sig, f.Owner)}
	}
	return nil
}

// CheckTable returns what is impossible in a descriptor table. fds are in
// ascending order.
func CheckTable(fds []record.FD, locks []record.Lock) (errs []error) {
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{stream.ErrCorrupt}, args...)...))
	}
	for i, fd := range fds {
		if fd.FD < 0 || fd.FD > maxFD || i > 0 && fd.FD == fds[i-1].FD {
			bad("descriptor %d, which is out of range or occurs twice", fd.FD)
		}
	}
	for _, l := range locks {
		if l.FD < 0 || l.FD > maxFD || l.Start < 0 || l.Len < 0 || l.Kind != record.LockFlock && l.Kind != record.LockOFD && l.Kind != record.LockPosix && l.Kind != record.LockLease {
			bad("lock of kind %q on descriptor %d, of %d bytes from %d on", l.Kind, l.FD, l.Len, l.Start)
		}
	}
	return errs
}

// maxFD is more than fs.nr_open can be. Package judge compares descriptors with
// its value on this system.
const maxFD = 1 << 30

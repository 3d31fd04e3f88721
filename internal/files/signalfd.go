package files

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/kcmp"
	"ckpt/internal/object"
	"ckpt/stream"
	"ckpt/stream/record"
)

// signalfdKind: signalfds. What waits in one are the signals of whoever reads, which
// travel with the tasks. Only kcmp(2) can tell them apart.
var signalfdKind = Kind{
	Type: record.TypeSignalFD,
	Save: func(c *Collector) Saver { return Saver{Match: isSignalFD, Collect: c.signalFD} },
	Restore: func(r *Restorer) Maker {
		return Maker{Kind: object.Kind{Check: checkSignalFD, Make: r.makeSignalFD}}
	},
}

func isSignalFD(s *Subject) bool { return isAnon(s, "[signalfd]") }

// neverTaken are the signals that signalfd4(2) takes out of a mask, see do_signalfd4
// in fs/signalfd.c.
const neverTaken = 1<<(unix.SIGKILL-1) | 1<<(unix.SIGSTOP-1)

func checkSignalFD(rec *stream.Record) []error {
	s, err := decode[record.SignalFD](rec)
	if err == nil && s.Mask&neverTaken != 0 {
		err = fmt.Errorf("%w: signalfd for the signals %#x", stream.ErrCorrupt, s.Mask)
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

func (c *Collector) signalFD(s *Subject) (uint64, error) {
	if c.blockPath(s) {
		return 0, nil
	}
	mask, err := s.Info.SignalMask()
	if err != nil {
		return 0, err
	}
	rec := record.SignalFD{Object: record.Object{ID: c.NewID(), Genid: Genid(s.Stat.Dev, s.Stat.Ino, s.Info.Pos),
		Kcmp: &record.Kcmp{Type: int(kcmp.File), TID: s.PID, Idx: uint64(s.FD)}}, Mask: mask}
	return rec.ID, c.Emit(record.TypeSignalFD, &rec)
}

func (r *Restorer) makeSignalFD(rec *stream.Record) (object.Object, error) {
	s, err := decode[record.SignalFD](rec)
	if err != nil {
		return nil, err
	}
	var set unix.Sigset_t
	set.Val[0] = s.Mask
	fd, err := unix.Signalfd(-1, &set, unix.SFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a signalfd for the signals %#x: %w", s.Mask, err)
	}
	return r.newSingle(fd, "a signalfd")
}

// watchedSignalFD: an epoll is woken by the signals of the process that added the
// signalfd to it (signalfd_poll in fs/signalfd.c). Where several descriptor tables
// have the epoll, nothing tells which process that was.
type watchedSignalFD struct{ epoll, fd int }

func (w *watchedSignalFD) Error() string {
	return fmt.Sprintf("fd %d is an epoll in several descriptor tables that watches a signalfd added as descriptor %d, which can't be saved: the kernel does not tell whose signals wake it", w.epoll, w.fd)
}

func (w *watchedSignalFD) Hint() string {
	return "let each process make an epoll of its own, or close the one that it has inherited"
}

// ofSeveral reports whether several descriptor tables have a file open.
func ofSeveral(fds []*opened) bool {
	return slices.ContainsFunc(fds, func(o *opened) bool { return o.PID != fds[0].PID })
}

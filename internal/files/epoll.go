package files

import (
	"fmt"

	"ckpt/internal/kcmp"
	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/stream/record"

	"golang.org/x/sys/unix"
)

// epollKind: epoll instances. Only kcmp(2) can tell them apart.
var epollKind = Kind{
	Type: record.TypeEpoll,
	Part: []record.Type{record.TypeEpollTarget},
	Save: func(c *Collector) Saver { return Saver{Match: isEpoll, Collect: c.epoll, Settle: c.epolls} },
	Restore: func(r *Restorer) Maker {
		return Maker{Kind: object.Kind{Check: checkEpoll, Make: r.makeEpoll, Add: r.addTarget}}
	},
}

func isEpoll(s *Subject) bool { return isAnon(s, "[eventpoll]") }

func (c *Collector) epoll(s *Subject) (uint64, error) {
	if c.blockPath(s) {
		return 0, nil
	}
	e := record.Epoll{Object: record.Object{ID: c.NewID(), Genid: Genid(s.Stat.Dev, s.Stat.Ino, s.Info.Pos),
		Kcmp: &record.Kcmp{Type: int(kcmp.File), TID: s.PID, Idx: uint64(s.FD)}}}
	return e.ID, c.Emit(record.TypeEpoll, &e)
}

// opened is a descriptor that was described, and the numbers of its FILE, 0 if it can't be
// saved, and of what that has open.
type opened struct {
	*Subject
	file, inode uint64
}

// openedAt finds descriptors by process and number, and by inode number.
type openedAt struct {
	fd  map[kcmp.Handle]*opened
	ino map[uint64][]*opened
}

func indexOpened(all []opened) openedAt {
	at := openedAt{fd: map[kcmp.Handle]*opened{}, ino: map[uint64][]*opened{}}
	for i := range all {
		o := &all[i]
		at.fd[kcmp.Handle{PID: o.PID, Idx: uint64(o.FD)}] = o
		at.ino[o.Stat.Ino] = append(at.ino[o.Stat.Ino], o)
	}
	return at
}

// epolls describes what each epoll of the tree watches, once even if several
// processes share it. A target may meanwhile be open under another number than
// the one it was added by, and in another process.
func (c *Collector) epolls() error {
	all, err := c.descriptions(isEpoll)
	if err != nil {
		return err
	}
	at := indexOpened(c.opened)
	for _, fds := range all {
		if err := c.epollTargets(fds, &at); err != nil {
			return err
		}
	}
	return nil
}

// descriptions returns the descriptors that match, those of one description together.
func (c *Collector) descriptions(match func(s *Subject) bool) (all [][]*opened, err error) {
	tree := kcmp.NewTree(kcmp.File, kcmp.Kernel{})
	for i := range c.opened {
		o := &c.opened[i]
		if !match(o.Subject) {
			continue
		}
		n, isNew, err := tree.Insert(0, kcmp.Handle{PID: o.PID, Idx: uint64(o.FD)}, func() uint64 { return uint64(len(all)) })
		if err != nil {
			return nil, err
		}
		if isNew {
			all = append(all, nil)
		}
		all[n] = append(all[n], o)
	}
	return all, nil
}

// epollTargets describes what an epoll watches. fds are its descriptors.
func (c *Collector) epollTargets(fds []*opened, at *openedAt) error {
	e := fds[0]
	targets, err := e.Info.EpollTargets()
	if err != nil {
		return fmt.Errorf("fd %d of pid %d: %w", e.FD, e.PID, err)
	}
	for i := range targets {
		t := &targets[i]
		target, err := at.target(e, t)
		switch {
		case err != nil:
			return err
		case target != nil && target.file == 0:
			continue // reported with that descriptor
		case target != nil && isSignalFD(target.Subject) && ofSeveral(fds):
			c.Block(e.PID, &watchedSignalFD{e.FD, t.FD})
			continue
		case target == nil:
			c.Block(e.PID, fmt.Errorf("fd %d is an epoll that still watches a file added as descriptor %d, which no process being saved has open any longer; that can't be saved", e.FD, t.FD))
			continue
		}
		rec := record.EpollTarget{TID: e.PID, FD: t.FD, Events: t.Events, Data: t.Data, Refs: record.EpollFileRef{Epoll: e.file, File: target.file}}
		if err := c.Emit(record.TypeEpollTarget, &rec); err != nil {
			return err
		}
	}
	return nil
}

// target returns a descriptor that has a target open, nil if no process of the tree
// has. Most likely it is still open where it was added.
func (at *openedAt) target(e *opened, t *proc.EpollTarget) (*opened, error) {
	slot := kcmp.EpollSlot{EpollFD: uint32(e.FD), TargetFD: uint32(t.FD), Offset: t.Slot}
	maybe := at.ino[t.Ino]
	if likely := at.fd[kcmp.Handle{PID: e.PID, Idx: uint64(t.FD)}]; likely != nil && likely.Stat.Ino == t.Ino {
		maybe = append([]*opened{likely}, maybe...)
	}
	for _, o := range maybe {
		if isSame(o, t) {
			return o, nil
		}
		order, err := kcmp.CompareEpollTarget(o.PID, uint64(o.FD), e.PID, slot)
		if err != nil {
			return nil, fmt.Errorf("fd %d of pid %d: %w", e.FD, e.PID, err)
		}
		if order == kcmp.Equal {
			return o, nil
		}
	}
	return nil, nil
}

// isSame reports whether a descriptor certainly has a target open: a socket has one
// description for life. To ask the kernel takes the longer the more an epoll watches.
func isSame(o *opened, t *proc.EpollTarget) bool {
	return t.Dev != 0 && o.Stat.Mode&unix.S_IFMT == unix.S_IFSOCK && o.Info.Flags&unix.O_PATH == 0 &&
		o.Stat.Ino == t.Ino && o.Stat.Dev == unix.Mkdev(uint32(t.Dev>>20), uint32(t.Dev&(1<<20-1)))
}

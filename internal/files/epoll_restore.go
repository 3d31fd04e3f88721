package files

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/object"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// epollPrivate are the bits the kernel leaves when an EPOLLONESHOT target has
// fired: one with no others is spent.
const epollPrivate = unix.EPOLLWAKEUP | unix.EPOLLONESHOT | unix.EPOLLET | unix.EPOLLEXCLUSIVE

// epoll is a live one.
type epoll struct {
	*single
	r       *Restorer
	targets []*record.EpollTarget
}

func checkEpoll(rec *stream.Record) []error {
	if rec.Type == record.TypeEpoll {
		return nil
	}
	t, err := decode[record.EpollTarget](rec)
	if err == nil && (t.FD < 0 || t.FD > maxFD) {
		err = fmt.Errorf("%w: target of an epoll added as descriptor %d", stream.ErrCorrupt, t.FD)
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

func (r *Restorer) makeEpoll(*stream.Record) (object.Object, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an epoll: %w", err)
	}
	s, err := r.newSingle(fd, "an epoll")
	if err != nil {
		return nil, err
	}
	return &epoll{single: s, r: r}, nil
}

// addTarget gives a target to its epoll, if that is there and is to watch it. What
// took the place of one may be nothing that can be watched.
func (r *Restorer) addTarget(rec *stream.Record) error {
	t, err := decode[record.EpollTarget](rec)
	if err != nil {
		return err
	}
	sub := r.plan.files[t.Refs.File]
	if sub.closes() || r.plan.files[t.Refs.Epoll] != nil {
		return nil
	}
	if sub != nil {
		if f, err := r.file(t.Refs.File); err == nil && !canBeWatched(f.f) {
			r.Note("an epoll of %s no longer watches descriptor %d, for what takes its place (%s) can't be watched", r.Name(t.TID), t.FD, sub.flag)
			return nil
		}
	}
	obj, err := r.Hash.Get(t.Refs.Epoll, record.TypeFile)
	if err != nil {
		return err
	}
	e, ok := obj.(*file).inode.(*epoll)
	if !ok {
		return fmt.Errorf("%w: target of something that is no epoll", stream.ErrCorrupt)
	}
	e.targets = append(e.targets, t)
	return nil
}

// Attach lets it watch its targets again, each under the number the program knows
// it by. The table of who added it is still empty, so the number is free for the
// moment.
func (e *epoll) Attach(tasks object.Tasks) error {
	if err := e.makeRoom(tasks); err != nil {
		return err
	}
	// Spent ones first: spending one again must not find another's event.
	for _, spent := range []bool{true, false} {
		for _, t := range e.targets {
			if (t.Events&^uint32(epollPrivate) == 0 && t.Events&unix.EPOLLONESHOT != 0) != spent {
				continue
			}
			if err := e.r.addEpollTarget(tasks.Puppet(t.TID), t, spent); err != nil {
				return fmt.Errorf("pid %d: let an epoll watch descriptor %d: %w", t.TID, t.FD, err)
			}
		}
	}
	return nil
}

// makeRoom makes room for the numbers of its targets.
func (e *epoll) makeRoom(tasks object.Tasks) error {
	var pids []int
	numbers := map[int][]int{}
	for _, t := range e.targets {
		if tasks.Puppet(t.TID) == nil {
			return fmt.Errorf("%w: an epoll's target was added by thread %d, which is not in the image", stream.ErrCorrupt, t.TID)
		}
		if numbers[t.TID] == nil {
			pids = append(pids, t.TID)
		}
		numbers[t.TID] = append(numbers[t.TID], t.FD)
	}
	for _, pid := range pids {
		if _, err := reserve(tasks.Puppet(pid), numbers[pid]); err != nil {
			return err
		}
	}
	return nil
}

// canBeWatched reports whether a file has a poll method: epoll_ctl(2) refuses
// those that are always ready.
func canBeWatched(f *depot.File) bool {
	fd, err := f.Fd()
	if err != nil {
		return true // to use it will say why
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return true
	}
	defer unix.Close(ep)
	return unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{}) != unix.EPERM
}

// addEpollTarget adds one from inside the puppet, for the kernel keeps the
// number together with the file.
func (r *Restorer) addEpollTarget(p *tracee.Puppet, t *record.EpollTarget, spent bool) error {
	epoll, err := r.file(t.Refs.Epoll)
	if err != nil {
		return err
	}
	target, err := r.file(t.Refs.File)
	if err != nil {
		return err
	}
	n, err := give(p, target.f)
	if err != nil {
		return err
	}
	if n != t.FD {
		if err := tracee.CallOK(p, "place it", unix.SYS_DUP3, uint64(n), uint64(t.FD), unix.O_CLOEXEC); err != nil {
			return err
		}
		if err := tracee.CallOK(p, "close", unix.SYS_CLOSE, uint64(n)); err != nil {
			return err
		}
	}
	ep, err := give(p, epoll.f)
	if err != nil {
		return err
	}
	if spent {
		err = addSpent(p, uint64(ep), t)
	} else {
		err = epollCtl(p, uint64(ep), unix.EPOLL_CTL_ADD, t, t.Events)
	}
	return errors.Join(err, tracee.CallOK(p, "close", unix.SYS_CLOSE, uint64(ep)), tracee.CallOK(p, "close", unix.SYS_CLOSE, uint64(t.FD)))
}

// addSpent adds a target and takes an event of it, which disarms it wholly. Of
// one that has none to give, errors and hang-ups stay armed.
func addSpent(p *tracee.Puppet, ep uint64, t *record.EpollTarget) error {
	if err := epollCtl(p, ep, unix.EPOLL_CTL_ADD, t, t.Events|unix.EPOLLIN|unix.EPOLLOUT); err != nil {
		return err
	}
	n, err := p.Call(unix.SYS_EPOLL_PWAIT, ep, p.Scratch().Addr, 1, 0, 0, 0)
	if err != nil || n > 0 {
		return err
	}
	return epollCtl(p, ep, unix.EPOLL_CTL_MOD, t, t.Events)
}

func epollCtl(p *tracee.Puppet, ep, op uint64, t *record.EpollTarget, events uint32) error {
	at := p.Scratch().Addr
	if err := p.Tracee().WriteMem(at, epollEvent(events, t.Data)); err != nil {
		return err
	}
	_, err := p.Call(unix.SYS_EPOLL_CTL, ep, op, uint64(t.FD), at)
	return err
}

// epollEvent is struct epoll_event, packed on amd64 alone.
func epollEvent(events uint32, data uint64) []byte {
	b := binary.NativeEndian.AppendUint32(nil, events)
	if binary.Size(unix.EpollEvent{}) == 16 {
		b = append(b, 0, 0, 0, 0)
	}
	return binary.NativeEndian.AppendUint64(b, data)
}

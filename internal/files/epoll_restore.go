package files

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/object"
	"ckpt/internal/puppet"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// epollPrivate are the bits that the kernel leaves set when an EPOLLONESHOT
// target has fired: a target with no others is disarmed. The name is that of
// EP_PRIVATE_BITS in fs/eventpoll.c.
const epollPrivate = unix.EPOLLWAKEUP | unix.EPOLLONESHOT | unix.EPOLLET | unix.EPOLLEXCLUSIVE

// epoll is a restored epoll instance.
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

// addTarget adds a target to its epoll, unless one of the two is closed or
// replaced. A substitute for the target may be something that can't be watched.
func (r *Restorer) addTarget(rec *stream.Record) error {
	t, err := decode[record.EpollTarget](rec)
	if err != nil {
		return err
	}
	sub := r.replacements.files[t.Refs.File]
	if sub.closes() || r.replacements.files[t.Refs.Epoll] != nil {
		return nil
	}
	if sub != nil {
		if f, err := r.file(t.Refs.File); err == nil && !canBeWatched(f.f) {
			r.Note("an epoll of %s no longer watches descriptor %d, because what takes its place (%s) can't be watched", r.Name(t.TID), t.FD, sub.flag)
			return nil
		}
	}
	obj, err := r.Hash.Get(t.Refs.Epoll, record.TypeFile)
	if err != nil {
		return err
	}
	e, ok := obj.(*file).inode.(*epoll)
	if !ok {
		return fmt.Errorf("%w: target of something that is not an epoll", stream.ErrCorrupt)
	}
	e.targets = append(e.targets, t)
	return nil
}

// Attach adds the targets again, each under the number it was added by. The
// descriptor table of the task that added it is still empty, so that number is
// free for now.
func (e *epoll) Attach(tasks object.Tasks) error {
	if err := e.makeRoom(tasks); err != nil {
		return err
	}
	// Disarmed ones first: disarming one again must not fetch the event of another.
	for _, spent := range []bool{true, false} {
		for _, t := range e.targets {
			if (t.Events&^uint32(epollPrivate) == 0 && t.Events&unix.EPOLLONESHOT != 0) != spent {
				continue
			}
			if err := e.r.addEpollTarget(tasks.Puppet(t.TID), t, spent); err != nil {
				return fmt.Errorf("pid %d: add descriptor %d to an epoll: %w", t.TID, t.FD, err)
			}
		}
	}
	return nil
}

// makeRoom makes room in the tasks for the numbers of the targets.
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
		return true // using it will tell why
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return true
	}
	defer unix.Close(ep)
	return unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{}) != unix.EPERM
}

// addEpollTarget adds a target from inside the puppet, because the kernel keeps
// the number by which it was added together with the file.
func (r *Restorer) addEpollTarget(p *puppet.Puppet, t *record.EpollTarget, spent bool) error {
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
		if err := tracee.CallOK(p, fmt.Sprintf("install descriptor %d", t.FD), unix.SYS_DUP3, uint64(n), uint64(t.FD), unix.O_CLOEXEC); err != nil {
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

// addSpent adds a target and fetches an event of it, which disarms it completely.
// If it has no event, it stays armed for errors and hang-ups.
func addSpent(p *puppet.Puppet, ep uint64, t *record.EpollTarget) error {
	if err := epollCtl(p, ep, unix.EPOLL_CTL_ADD, t, t.Events|unix.EPOLLIN|unix.EPOLLOUT); err != nil {
		return err
	}
	n, err := p.Call(unix.SYS_EPOLL_PWAIT, ep, p.Scratch().Addr, 1, 0, 0, 0)
	if err != nil || n > 0 {
		return err
	}
	return epollCtl(p, ep, unix.EPOLL_CTL_MOD, t, t.Events)
}

func epollCtl(p *puppet.Puppet, ep, op uint64, t *record.EpollTarget, events uint32) error {
	at := p.Scratch().Addr
	if err := p.Tracee().WriteMem(at, epollEvent(events, t.Data)); err != nil {
		return err
	}
	_, err := p.Call(unix.SYS_EPOLL_CTL, ep, op, uint64(t.FD), at)
	return err
}

// epollEvent is struct epoll_event, which is packed on amd64 only.
func epollEvent(events uint32, data uint64) []byte {
	b := binary.NativeEndian.AppendUint32(nil, events)
	if binary.Size(unix.EpollEvent{}) == 16 {
		b = append(b, 0, 0, 0, 0)
	}
	return binary.NativeEndian.AppendUint64(b, data)
}

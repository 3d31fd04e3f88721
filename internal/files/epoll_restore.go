package files

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

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
	adders, err := e.adders(tasks)
	if err != nil {
		return err
	}
	// Disarmed ones first: disarming one again must not fetch the event of another.
	for _, a := range adders {
		for _, t := range a.targets {
			if isSpent(t) {
				if err := e.r.addSpentTarget(a.p, t); err != nil {
					return fmt.Errorf("pid %d: add descriptor %d to an epoll: %w", t.TID, t.FD, err)
				}
			}
		}
	}
	for _, a := range adders {
		if err := a.addArmed(e.r); err != nil {
			return err
		}
	}
	return nil
}

// isSpent reports whether a target has fired and is disarmed.
func isSpent(t *record.EpollTarget) bool {
	return t.Events&^uint32(epollPrivate) == 0 && t.Events&unix.EPOLLONESHOT != 0
}

// adder is a task that adds targets to an epoll.
type adder struct {
	p       *puppet.Puppet
	targets []*record.EpollTarget
	low     int // the lowest free number in its table
}

// adders returns the tasks that added the targets, with room for their numbers.
func (e *epoll) adders(tasks object.Tasks) (all []*adder, err error) {
	known := map[int]*adder{}
	for _, t := range e.targets {
		a := known[t.TID]
		if a == nil {
			a = &adder{p: tasks.Puppet(t.TID)}
			known[t.TID], all = a, append(all, a)
		}
		if a.p == nil {
			return nil, fmt.Errorf("%w: an epoll's target was added by thread %d, which is not in the image", stream.ErrCorrupt, t.TID)
		}
		a.targets = append(a.targets, t)
	}
	for _, a := range all {
		numbers := make([]int, len(a.targets))
		for i, t := range a.targets {
			numbers[i] = t.FD
		}
		pidfd, err := reserve(a.p, numbers)
		if err != nil {
			return nil, err
		}
		if pidfd == 0 { // all that is in its table
			a.low = 1
		}
	}
	return all, nil
}

// addArmed adds the targets that are armed, with few stops for all of them.
func (a *adder) addArmed(r *Restorer) error {
	armed := slices.DeleteFunc(slices.Clone(a.targets), isSpent)
	for _, t := range armed { // those that are opened late, because that moves others, see Together
		if _, err := r.file(t.Refs.File); err != nil {
			return err
		}
	}
	v, added := a.p.Vector(), 0
	for _, t := range armed {
		if err := a.add(r, v, t); err != nil {
			return err
		}
		if added++; added+1 >= r.Depot.Together() { // the epoll is one more
			if err := v.Run(); err != nil {
				return err
			}
			added = 0
		}
	}
	return v.Run()
}

// add adds the calls that add a target, and leave the table as it was.
func (a *adder) add(r *Restorer, v *puppet.Vector, t *record.EpollTarget) error {
	target, epoll, err := r.targetAndEpoll(t)
	if err != nil {
		return err
	}
	n := a.p.GiveIn(v, target)
	if t.FD != a.low {
		v.Add(fmt.Sprintf("install descriptor %d", t.FD), unix.SYS_DUP3, 0, uint64(t.FD), unix.O_CLOEXEC).From(0, n)
		v.Add("close", unix.SYS_CLOSE, 0).From(0, n)
	}
	ep := a.p.GiveIn(v, epoll)
	at := v.Put(epollEvent(t.Events, t.Data))
	v.Add(fmt.Sprintf("add descriptor %d to an epoll", t.FD), unix.SYS_EPOLL_CTL, 0, unix.EPOLL_CTL_ADD, uint64(t.FD), at).From(0, ep)
	v.Add("close", unix.SYS_CLOSE, 0).From(0, ep)
	v.Add("close", unix.SYS_CLOSE, uint64(t.FD))
	return nil
}

// targetAndEpoll returns our descriptors of both.
func (r *Restorer) targetAndEpoll(t *record.EpollTarget) (target, epoll int, err error) {
	if target, err = r.descriptorOf(t.Refs.File); err == nil {
		epoll, err = r.descriptorOf(t.Refs.Epoll)
	}
	return target, epoll, err
}

// descriptorOf returns our descriptor of a description.
func (r *Restorer) descriptorOf(objref uint64) (int, error) {
	f, err := r.file(objref)
	if err != nil {
		return -1, err
	}
	return f.f.Fd()
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

// addSpentTarget adds a target that is disarmed, from inside the puppet, because the
// kernel keeps the number by which it was added together with the file.
func (r *Restorer) addSpentTarget(p *puppet.Puppet, t *record.EpollTarget) error {
	target, epoll, err := r.targetAndEpoll(t)
	if err != nil {
		return err
	}
	n, err := p.Give(target)
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
	ep, err := p.Give(epoll)
	if err != nil {
		return err
	}
	err = addSpent(p, uint64(ep), t)
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

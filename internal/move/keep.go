package move

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/tracee"
)

// Keeper keeps the tree of a record still by tracing it. It belongs to one OS thread.
type Keeper struct {
	source *Source
	group  *tracee.Group
	held   map[int]*tracee.Tracee
}

// stopTime is how long a thread may take to stop.
const stopTime = time.Second

// Keep returns one for the calling thread, which traces nothing yet.
func (s *Source) Keep() *Keeper {
	return &Keeper{s, tracee.NewGroup(stopTime, func(int, int) {}), map[int]*tracee.Tracee{}}
}

// MayTrace makes sure that this process may trace all of them, when nobody else does any more.
func (s *Source) MayTrace() error {
	for _, p := range s.Procs {
		tid := p.PID
		if len(p.Threads) > 0 { // the first may have ended
			tid = p.Threads[0].TID
		}
		// The kernel asks for the same right, of Yama, too.
		fd, err := unix.Open(proc.Path(tid, "mem"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("%s can't be kept stopped by another process than ckpt-collect: %w", proc.Named(p.PID), err)
		}
		unix.Close(fd)
	}
	return nil
}

// Still stops all processes, and traces them as far as nobody else does.
func (k *Keeper) Still() {
	_ = k.source.Signal(unix.SIGSTOP)
	for _, p := range k.source.Procs {
		if !p.there() {
			continue
		}
		tids, err := proc.Threads(p.PID)
		for _, tid := range tids {
			if err == nil {
				_, _ = k.hold(p.PID, tid) // else in the next round
			}
		}
	}
	k.group.Sweep() // who was killed is reported to us before its parent
}

// hold traces a thread. It returns nil for one that is not there any more.
func (k *Keeper) hold(pid, tid int) (*tracee.Tracee, error) {
	if k.group.Holds(tid) {
		return k.held[tid], nil
	}
	stat, err := proc.ReadThreadStat(pid, tid)
	if proc.Gone(err) || err == nil && (stat.State == 'Z' || stat.State == 'X') {
		return nil, nil
	}
	if err == nil {
		k.held[tid], err = k.group.Seize(pid, tid)
	}
	return k.held[tid], err
}

// Release lets go of all. Who is parked stays so.
func (k *Keeper) Release() error { return k.group.ReleaseAll() }

// Resume has the tree go on as it was when ckpt-collect stopped it, and lets go of it.
func (k *Keeper) Resume(limit time.Duration) error {
	var why error
	err := until(context.Background(), limit, func() (bool, error) {
		why = k.all(func(p *Proc, th *tracee.Parked) error {
			_, err := k.hold(p.PID, th.TID)
			return err
		})
		return why == nil, nil
	})
	if _, gone := k.source.State(); errors.Is(gone, ErrNone) { // another one was faster
		return k.Release()
	}
	if err == nil {
		why = k.unpark()
	}
	if why != nil {
		return errors.Join(fmt.Errorf("%s stays stopped: %w", proc.Named(k.source.Root()), why), k.Release())
	}
	return errors.Join(k.source.Signal(unix.SIGCONT), k.Release())
}

// unpark unparks all while none of them runs.
func (k *Keeper) unpark() error {
	err := k.all(func(p *Proc, th *tracee.Parked) error {
		t, err := k.hold(p.PID, th.TID)
		if err == nil && t != nil {
			err = t.Unpark(p.Loop, th)
		}
		if errors.Is(err, tracee.ErrDead) {
			err = nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return k.all(func(p *Proc, th *tracee.Parked) error {
		t, err := k.hold(p.PID, th.TID)
		if t == nil || err != nil || th != &p.Threads[0] {
			return err
		}
		if err = t.ClearLoop(p.Loop); errors.Is(err, tracee.ErrDead) {
			err = nil
		}
		return err
	})
}

// all does something for all threads that were parked.
func (k *Keeper) all(do func(p *Proc, th *tracee.Parked) error) error {
	for i := range k.source.Procs {
		p := &k.source.Procs[i]
		for j := range p.Threads {
			if !p.there() {
				break
			}
			if err := do(p, &p.Threads[j]); err != nil {
				return err
			}
		}
	}
	return nil
}

// resume is Resume of a thread of its own, when nobody else keeps them.
func (s *Source) resume(limit time.Duration) error {
	end := make(chan error)
	go func() {
		runtime.LockOSThread() // its end lets go of whoever is still traced
		end <- s.Keep().Resume(limit)
	}()
	return <-end
}

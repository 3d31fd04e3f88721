package collect

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/tracee"
)

func ownPID() int { return os.Getpid() }

// process is one process of the target, with all its threads held.
type process struct {
	pid     int
	threads []*tracee.Tracee // the first is the leader
	frozen  time.Time
}

// freeze holds every thread of a process. While some still run they may start
// others, so it looks again until it finds nothing new.
func freeze(pid int, timeout time.Duration) (*process, error) {
	p := &process{pid: pid, frozen: time.Now()}
	held := map[int]bool{}
	for found := true; found; {
		found = false
		tids, err := proc.Threads(pid)
		if err != nil {
			return nil, errors.Join(noSuch(pid, err), p.release())
		}
		for _, tid := range tids {
			if held[tid] {
				continue
			}
			t, err := tracee.Seize(pid, tid, timeout)
			if err != nil {
				if tid != pid && errors.Is(err, tracee.ErrDead) {
					continue // a thread that just ended
				}
				return nil, errors.Join(whyNot(pid, err), p.release())
			}
			held[tid], found = true, true
			p.threads = append(p.threads, t)
			if err := t.ComeHome(timeout); err != nil {
				return nil, errors.Join(whyNot(pid, err), p.release())
			}
		}
	}
	return p, nil
}

// release lets every thread run, unharmed.
func (p *process) release() error {
	var errs []error
	for _, t := range p.threads {
		errs = append(errs, t.Detach(0))
	}
	p.threads = nil
	return errors.Join(errs...)
}

// end does to the process what the user asked for. In an event stop no signal
// can be given along, so SIGSTOP is sent first and met on leaving.
func (p *process) end(leave string) error {
	switch leave {
	case LeaveStopped:
		if err := unix.Kill(p.pid, unix.SIGSTOP); err != nil {
			return errors.Join(fmt.Errorf("stop pid %d: %w", p.pid, err), p.release())
		}
	case LeaveKilled:
		err := p.threads[0].Kill()
		p.threads = nil
		return err
	}
	return p.release()
}

// noSuch says that a process is not there, if that is the reason.
func noSuch(pid int, err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("there is no process %d", pid)
	}
	return err
}

// whyNot explains why a process can't be held.
func whyNot(pid int, err error) error {
	status, serr := proc.ReadStatus(pid)
	if serr != nil {
		return noSuch(pid, serr)
	}
	b := &Blocker{PID: pid, Comm: status.Name}
	switch {
	case errors.Is(err, unix.EPERM) && status.TracerPid != 0:
		comm, _ := proc.ReadComm(status.TracerPid, status.TracerPid)
		b.Reason = fmt.Errorf("is traced by pid %d (%s), and a process has one tracer at a time", status.TracerPid, comm)
	case errors.Is(err, unix.EPERM):
		b.Reason = errors.New("may not be traced by this user: it takes root, CAP_SYS_PTRACE, or the program's own user")
	case errors.Is(err, tracee.ErrTimeout):
		b.Reason = errors.New("sleeps uninterruptibly in the kernel and did not stop in time (--timeout)")
	case errors.Is(err, tracee.ErrDead):
		b.Reason = errors.New("ended while it was being stopped")
	default:
		return err
	}
	return &Refused{[]*Blocker{b}}
}

// admit refuses what can't be held at all, before anything is touched.
func admit(pid int) error {
	stat, err := proc.ReadStat(pid)
	if err != nil {
		return noSuch(pid, err)
	}
	b := &Blocker{PID: pid, Comm: stat.Comm}
	switch {
	case pid == ownPID():
		b.Reason = errors.New("is this very program, which can't stop itself")
	case proc.IsKernelThread(stat):
		b.Reason = errors.New("is a thread of the kernel, which can't be saved")
	case stat.State == 'Z' || stat.State == 'X':
		b.Reason = fmt.Errorf("has ended already and waits for its parent, pid %d", stat.PPID)
	default:
		return nil
	}
	return &Refused{[]*Blocker{b}}
}

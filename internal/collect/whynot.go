package collect

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
)

// noSuch says that a process does not exist, if that is what err means.
func noSuch(pid int, err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("there is no process %d", pid)
	}
	return err
}

// whyNot explains why a thread can't be held.
func whyNot(pid, tid int, err error) error {
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
		b.Reason = errors.New("may not be traced by this user: that takes root, CAP_SYS_PTRACE, or the program's own user")
	case errors.Is(err, tracee.ErrTimeout):
		b.Reason = whyNoStop(pid, tid)
	case errors.Is(err, tracee.ErrDead):
		b.Reason = errors.New("ended while it was being stopped")
	default:
		return err
	}
	return &Refused{[]*Blocker{b}}
}

// whyNoStop explains why a thread does not stop.
func whyNoStop(pid, tid int) error {
	if err := new(task.Frozen).Check(tid); err != nil {
		return err
	}
	if inVfork(pid, tid) {
		return whyVfork(pid, tid)
	}
	doing := "is in state " + stateWord(pid, tid)
	if call, err := proc.ReadSyscall(pid, tid); err == nil && call >= 0 {
		doing += fmt.Sprintf(", in system call %d", call)
	}
	if at, err := os.ReadFile(proc.ThreadPath(pid, tid, "wchan")); err == nil && len(at) > 1 {
		doing += fmt.Sprintf(", in the kernel's %s", at)
	}
	return fmt.Errorf("did not stop in time (--timeout): thread %d %s", tid, doing)
}

func hasEnded(stat proc.Stat) error {
	return fmt.Errorf("has ended already and waits for its parent, pid %d", stat.PPID)
}

// whyStuck explains why a thread can't even be attached to.
func whyStuck(pid, tid int) error {
	return refused(pid, errors.New("is in execve, which did not finish in time (--timeout); before that it can't be stopped"))
}

func refused(pid int, reason error) error {
	return &Refused{[]*Blocker{{PID: pid, Comm: commOf(pid, pid), Reason: reason}}}
}

// stateWord is the letter that ps(1) has for a thread's state, and its meaning.
func stateWord(pid, tid int) string {
	stat, err := proc.ReadThreadStat(pid, tid)
	if err != nil {
		return "?"
	}
	switch stat.State {
	case 'D':
		return "D (sleeps uninterruptibly)"
	case 'R':
		return "R (is busy, or waits for a processor)"
	case 'S':
		return "S (sleeps)"
	}
	return string(stat.State)
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
	case within(ownPID(), pid):
		b.Reason = errors.New("is the parent of this very program, which can't stop itself; start it from elsewhere, or with setsid -f")
	case proc.IsKernelThread(stat):
		b.Reason = errors.New("is a thread of the kernel, which can't be saved")
	case stat.State == 'Z' && stat.NumThreads == 1: // more threads if another one is about to take its id at execve
		b.Reason = hasEnded(stat)
	default:
		return nil
	}
	return &Refused{[]*Blocker{b}}
}

// within reports whether pid descends from root.
func within(pid, root int) bool {
	for pid > 1 {
		stat, err := proc.ReadStat(pid)
		if err != nil {
			return false
		}
		if pid = stat.PPID; pid == root {
			return true
		}
	}
	return false
}

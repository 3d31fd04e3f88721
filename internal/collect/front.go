package collect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/cli"
	"ckpt/internal/files"
	"ckpt/internal/proc"
	"ckpt/internal/puppet"
	"ckpt/stream"
	"ckpt/stream/record"
)

// front is ckpt-collect where the user is, while one in the target's pid namespace does the
// work. The target is the init of that.
//
// What can the target do to the one inside, which it can see? It can't trace it, nor open
// anything of it in proc(5), see members. It may send it signals, lower its limits and its
// priority, if its user is the same: then the one inside ends, or does not go on, and is ended
// from here. That lets the target go.
type front struct {
	pid    int // the target
	pidfd  int
	worker int
	end    int // a pidfd of the worker
	line   int
	left   files.Survivors
	killed bool
}

const (
	// lifeSign is how often the one inside says that it lives, and silence how long it may
	// say nothing.
	lifeSign = time.Second
	silence  = 30 * time.Second
	// endLimit is how long what was killed may take to end.
	endLimit = 10 * time.Second
	lookTick = 100 * time.Millisecond
)

// isOtherInit reports whether a process is the init of another pid namespace than ours.
func isOtherInit(pid int) bool {
	own, err := proc.Namespace(ownPID(), ownPID(), "pid")
	if err != nil {
		return false
	}
	its, err := proc.Namespace(pid, pid, "pid")
	if err != nil || its == own {
		return false
	}
	status, err := proc.ReadStatus(pid)
	return err == nil && status.NSpid[len(status.NSpid)-1] == 1
}

// hasOwn reports whether a process has another namespace of a kind than we.
func hasOwn(pid int, kind string) bool {
	own, err := proc.Namespace(ownPID(), ownPID(), kind)
	if err != nil {
		return false
	}
	its, err := proc.Namespace(pid, proc.Living(pid), kind)
	return err == nil && its != own
}

// runFront is Run for a target that is the init of another pid namespace.
func runFront(ctx context.Context, o *Options, out *os.File) error {
	runtime.LockOSThread() // see puppet.StartInside
	f := &front{pid: o.PID}
	if err := f.start(o); err != nil {
		if !o.DryRun {
			stream.NewWriter(out).Abort(Tool, err)
		}
		return err
	}
	defer unix.Close(f.pidfd)
	defer unix.Close(f.end)
	if err := out.Close(); err != nil { // the one inside has it
		return errors.Join(err, f.giveUp())
	}
	return f.run(ctx)
}

func (f *front) start(o *Options) error {
	if o.TCP == TCPKeep {
		return refused(f.pid, errors.New("is the init of another pid namespace, of which TCP connections can't be kept (--tcp keep)"))
	}
	own, err := caps.Own()
	if err != nil {
		return err
	}
	needs := caps.Of(unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE)
	if hasOwn(f.pid, record.NamespaceNet) {
		needs |= caps.Of(unix.CAP_NET_ADMIN, unix.CAP_DAC_READ_SEARCH) // the latter for the names of tables in /proc
	}
	if missing := own.Need(needs, proc.Named(f.pid), "save %s, which is in a pid namespace of its own"); len(missing) > 0 {
		return &denied{missing}
	}
	if err := admit(f.pid); err != nil {
		return err
	}
	if f.pidfd, err = unix.PidfdOpen(f.pid, 0); err != nil {
		return noSuch(f.pid, err)
	}
	m, err := newMembers(own, f.pid)
	if err == nil {
		err = m.refuse(f.pid)
	}
	if err != nil {
		return err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	f.line = pair[0]
	if _, err := unix.FcntlInt(uintptr(pair[1]), unix.F_SETFD, 0); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	door, err := f.openLiving()
	if err != nil {
		return err
	}
	f.worker, err = puppet.StartInside(door, unix.CLONE_NEWPID|unix.CLONE_NEWUTS|unix.CLONE_NEWIPC|unix.CLONE_NEWNET, os.Args, append(os.Environ(), insideSetting(pair[1], f.pid)))
	if err := errors.Join(err, unix.Close(door)); err != nil {
		return fmt.Errorf("pid %d: %w", f.pid, err)
	}
	if f.end, err = unix.PidfdOpen(f.worker, 0); err != nil { // not reaped yet, so it is that one
		return errors.Join(os.NewSyscallError("pidfd_open", err), os.NewSyscallError("kill", unix.Kill(f.worker, unix.SIGKILL)))
	}
	o.Step("pid %d is the init of a pid namespace; pid %d works in there", f.pid, f.worker)
	return os.NewSyscallError("close", unix.Close(pair[1]))
}

// openLiving returns a pidfd of a thread of the target by which its namespaces can be entered: a
// first thread that has ended has none.
func (f *front) openLiving() (int, error) {
	tid, flags := proc.Living(f.pid), 0
	if tid != f.pid {
		flags = unix.PIDFD_THREAD
	}
	fd, err := unix.PidfdOpen(tid, flags)
	if err == unix.EINVAL {
		return -1, refused(f.pid, errFirstEnded)
	}
	if err != nil {
		return -1, noSuch(f.pid, err)
	}
	if flags == 0 {
		return fd, nil
	}
	// It is the target's if it still lives after it was seen to be, as does the target.
	_, err = proc.ReadThreadStat(f.pid, tid)
	for _, pidfd := range []int{fd, f.pidfd} {
		if ended, e := readyWithin(pidfd, 0); ended || e != nil {
			err = errors.Join(err, e, fmt.Errorf("pid %d changes its threads; try again", f.pid))
		}
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// run does what the one inside asks for, until that ends.
func (f *front) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		if s := new(cli.Signalled); errors.As(context.Cause(ctx), &s) {
			_ = unix.PidfdSendSignal(f.end, s.Signal, nil, 0)
		}
	})()
	for {
		ended, err := f.await()
		if err != nil {
			return errors.Join(err, f.giveUp())
		}
		if ended {
			return f.reap()
		}
		kind, _, fds, err := hear(f.line)
		if err != nil {
			return f.reap()
		}
		switch kind {
		case sayReuse:
			f.left.Reuse = append(f.left.Reuse, fds...)
		case sayAbort:
			f.left.Abort = append(f.left.Abort, fds...)
		case sayKill:
			if err := unix.PidfdSendSignal(f.pidfd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
				if err := say(f.line, sayNot, err.Error(), nil); err != nil {
					return errors.Join(err, f.giveUp())
				}
				continue
			}
			f.killed = true
			return errors.Join(f.reap(), f.left.End(true))
		}
	}
}

// await waits until the one inside says something, or has ended and said all. It returns an
// error if that was stopped: then the target may stand still, too.
func (f *front) await() (ended bool, err error) {
	for since := time.Now(); ; {
		if ended, err = readyWithin(f.end, 0); err != nil {
			return false, err
		}
		switch heard, err := readyWithin(f.line, lookTick); {
		case heard || err != nil:
			return false, err
		case ended:
			return true, nil
		case f.stopped():
			return false, fmt.Errorf("pid %d runs on, because the ckpt-collect in its pid namespace, pid %d, was stopped by somebody", f.pid, f.worker)
		case time.Since(since) > silence:
			return false, fmt.Errorf("pid %d runs on, because the ckpt-collect in its pid namespace, pid %d, has not moved for %v", f.pid, f.worker, silence)
		}
	}
}

// stopped reports whether a signal has stopped the one inside. The stop is reported once.
func (f *front) stopped() bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, f.worker, &info, unix.WSTOPPED|unix.WNOHANG, nil)
	return err == nil && info.Signo != 0
}

// readyWithin reports whether a descriptor can be read: a pidfd when its process has ended.
func readyWithin(fd int, limit time.Duration) (bool, error) {
	for until := time.Now().Add(limit); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(0, time.Until(until))/time.Millisecond))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return false, os.NewSyscallError("poll", err)
		default:
			return n > 0, nil
		}
	}
}

// giveUp ends the one inside.
func (f *front) giveUp() error {
	if err := unix.PidfdSendSignal(f.end, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	_, err := f.status()
	return err
}

// reap ends with the one inside, which is about to. It has told the user what went wrong,
// unless it was ended by others.
func (f *front) reap() error {
	ws, err := f.status()
	switch {
	case err != nil:
		return err
	case f.killed:
		return f.awaitEnd()
	case ws.Signaled():
		return fmt.Errorf("pid %d runs on, because the ckpt-collect in its pid namespace was ended by %s", f.pid, unix.SignalName(ws.Signal()))
	case ws.ExitStatus() == cli.StatusUsage: // the options are the same here, so this is Go's status for a crash
		return fmt.Errorf("pid %d runs on, because the ckpt-collect in its pid namespace ended with status %d", f.pid, ws.ExitStatus())
	case ws.ExitStatus() != 0:
		return cli.Exit(ws.ExitStatus(), nil)
	}
	return nil
}

// status waits for the end of the one inside, and hastens it if it does not come.
func (f *front) status() (ws unix.WaitStatus, err error) {
	ended, err := readyWithin(f.end, endLimit)
	if err == nil && !ended {
		if err := unix.PidfdSendSignal(f.end, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
			return 0, os.NewSyscallError("pidfd_send_signal", err)
		}
		ended, err = readyWithin(f.end, endLimit)
	}
	if err != nil {
		return 0, err
	}
	if !ended {
		return 0, fmt.Errorf("the ckpt-collect in the pid namespace of pid %d, pid %d, was killed and has not ended for %v", f.pid, f.worker, endLimit)
	}
	for until := time.Now().Add(endLimit); ; time.Sleep(lookTick / 10) {
		switch got, err := unix.Wait4(f.worker, &ws, unix.WNOHANG, nil); {
		case err == unix.EINTR:
		case err != nil:
			return 0, os.NewSyscallError("wait4", err)
		case got == f.worker:
			return ws, nil
		case time.Now().After(until): // its tracer must wait for it first
			return 0, f.traced()
		}
	}
}

// traced says why the one inside can't be waited for.
func (f *front) traced() error {
	by := "somebody"
	if status, err := proc.ReadStatus(f.worker); err == nil && status.TracerPid != 0 {
		by = proc.Named(status.TracerPid)
	}
	return fmt.Errorf("how the ckpt-collect in the pid namespace of pid %d ended can't be known, because it is traced by %s", f.pid, by)
}

// awaitEnd waits until the target, which was killed, has ended. It does last of its namespace.
func (f *front) awaitEnd() error {
	ended, err := readyWithin(f.pidfd, endLimit)
	if err == nil && !ended {
		err = fmt.Errorf("pid %d was killed and has not ended for %v", f.pid, endLimit)
	}
	return err
}

package collect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

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
// What can the target do to the one inside, which it can see? It may not trace it, nor open
// anything of it in proc(5), such as the program that it runs: that takes all capabilities
// that it has, in its user namespace (ptrace(2)), and it keeps those of the user. A program
// with as many could do the same to ckpt-collect anywhere. A signal ends it, and that
// lets the target go.
type front struct {
	pid    int // the target
	pidfd  int
	worker int
	line   int
	left   files.Survivors
	killed bool
}

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

// ownUTS reports whether a process has another UTS namespace than we.
func ownUTS(pid int) bool {
	own, err := proc.Namespace(ownPID(), ownPID(), record.NamespaceUTS)
	if err != nil {
		return false
	}
	its, err := proc.Namespace(pid, pid, record.NamespaceUTS)
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
	if err := out.Close(); err != nil { // the one inside has it
		return errors.Join(err, os.NewSyscallError("kill", unix.Kill(f.worker, unix.SIGKILL)), f.reap())
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
	if missing := own.Need(caps.Of(unix.CAP_SYS_ADMIN), proc.Named(f.pid), "save %s, which is in a pid namespace of its own"); len(missing) > 0 {
		return &denied{missing}
	}
	if err := admit(f.pid); err != nil {
		return err
	}
	if f.pidfd, err = unix.PidfdOpen(f.pid, 0); err != nil {
		return noSuch(f.pid, err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	f.line = pair[0]
	if _, err := unix.FcntlInt(uintptr(pair[1]), unix.F_SETFD, 0); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	f.worker, err = puppet.StartInside(f.pidfd, unix.CLONE_NEWPID|unix.CLONE_NEWUTS, os.Args, append(os.Environ(), insideSetting(pair[1], f.pid, ownUTS(f.pid))))
	if err != nil {
		return fmt.Errorf("pid %d: %w", f.pid, err)
	}
	o.Step("pid %d is the init of a pid namespace; pid %d works in there", f.pid, f.worker)
	return os.NewSyscallError("close", unix.Close(pair[1]))
}

// run does what the one inside asks for, until that ends.
func (f *front) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		if s := new(cli.Signalled); errors.As(context.Cause(ctx), &s) {
			_ = unix.Kill(f.worker, s.Signal)
		}
	})()
	for {
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
					return errors.Join(err, f.reap())
				}
				continue
			}
			f.killed = true
			return errors.Join(f.reap(), f.left.End(true))
		}
	}
}

// reap waits for the one inside. It has told the user what went wrong, unless it was killed.
func (f *front) reap() error {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(f.worker, &ws, 0, nil)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return os.NewSyscallError("wait4", err)
		}
	}
	switch {
	case f.killed:
		return f.awaitEnd()
	case ws.Signaled():
		return fmt.Errorf("pid %d runs on, because the ckpt-collect in its pid namespace was ended by %s", f.pid, unix.SignalName(ws.Signal()))
	case ws.ExitStatus() != 0:
		return cli.Exit(ws.ExitStatus(), nil)
	}
	return nil
}

// awaitEnd waits until the target has ended, which it does last of its namespace.
func (f *front) awaitEnd() error {
	p := []unix.PollFd{{Fd: int32(f.pidfd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(p, -1); err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
	}
}

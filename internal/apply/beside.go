package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/cli"
	"ckpt/internal/ipc"
	"ckpt/internal/judge"
	"ckpt/internal/puppet"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// isBeside reports whether this process was started by aroundInit: its parent is in another
// pid namespace.
func isBeside() bool { return os.Getppid() == 0 && os.Getenv(initVar) != "" }

// aroundInit restores a tree whose root is the init of a pid namespace. The root, which here
// is our child and there the first process, is started first; then this program again beside
// it, which does the work, so that whatever looks at or names a process sees what the
// restored programs will see. When the tree runs, that one ends, and we stay.
func aroundInit(ctx context.Context, o *Options, first []byte, in *os.File) (status int, err error) {
	runtime.LockOSThread() // both are killed when this thread ends
	head, b, err := readHead(o, first, in)
	if err != nil {
		return 0, err
	}
	if !b.model.IsInit() { // saved from inside of its namespace
		return restore(ctx, o, newBuilder(o, stream.NewReaderAfter(untilEnd{head}, in), in), newSupervisor(o))
	}
	if why := notForInit(o); why != nil {
		return 0, errors.Join(&judge.Refused{Reasons: []error{why}}, head.Close())
	}
	own, err := caps.Own()
	if err != nil {
		return 0, errors.Join(err, head.Close())
	}
	if missing := own.Need(caps.Of(unix.CAP_SYS_ADMIN), "", "make a pid namespace"); len(missing) > 0 {
		return 0, errors.Join(&judge.Refused{Reasons: missing}, head.Close())
	}
	setting := initSetting{beside: true}
	h := &host{supervisor: newSupervisor(o)}
	if h.net, setting.net, err = hostNetwork(o, b.model, own); err != nil {
		return 0, errors.Join(err, head.Close())
	}
	if h.root, err = puppet.StartFirst(ownKinds(b.model)); err != nil {
		return 0, errors.Join(err, head.Close())
	}
	if err := h.start(head, b, setting, func(env []string) error { return h.startBeside(ownKinds(b.model), env) }); err != nil {
		return 0, errors.Join(err, h.endRoot())
	}
	if err := h.meet(); err != nil {
		return 0, errors.Join(err, h.endRoot())
	}
	o.Step("in a pid namespace, whose init is pid %d; pid %d works in there", h.root, h.init)
	return h.run(ctx)
}

// notForInit returns why an option can't be with a tree whose root is an init.
func notForInit(o *Options) error {
	switch {
	case o.PIDs == PIDsNew:
		return cli.WithHint(errors.New("the first process is the init of a pid namespace, in which all have the ids they had: --pids new is not for it"), "leave --pids out: it gets a pid namespace of its own, also beside the original")
	case o.Prepared:
		return errors.New("the first process is the init of a pid namespace, which can't be handed over (--prepared)")
	}
	return nil
}

// ownKinds are the CLONE_NEW flags for namespaces that the tree has to itself, besides that of
// process ids.
func ownKinds(m *judge.Model) (flags uint64) {
	if m.Namespace(record.NamespaceUTS) != nil {
		flags |= unix.CLONE_NEWUTS
	}
	if m.Namespace(record.NamespaceIPC) != nil {
		flags |= unix.CLONE_NEWIPC
	}
	if m.Network() != nil {
		flags |= unix.CLONE_NEWNET
	}
	return flags
}

// enterCgroups gives the root, and so the tree, a cgroup namespace, whose root is the group that
// it is in then.
func (b *builder) enterCgroups(p *puppet.Puppet) error {
	ns := b.model.Namespace(record.NamespaceCgroup)
	if ns == nil {
		return nil
	}
	if err := task.EnterCgroupRoots(p.Tracee().PID, ns.Groups, b.cgroups, b.note); err != nil {
		return err
	}
	return tracee.CallOK(p, "make a cgroup namespace", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)
}

// widenIPC lets all be made that the tree's own IPC namespace, in which this process is, too,
// had. settleIPC gives that the limits it had, when all is made and attached.
func (b *builder) widenIPC() error {
	if ns := b.model.Namespace(record.NamespaceIPC); ns != nil {
		return ipc.Widen(ns.Sysctls)
	}
	return nil
}

func (b *builder) settleIPC() error {
	if ns := b.model.Namespace(record.NamespaceIPC); ns != nil {
		return ipc.Settle(ns.Sysctls)
	}
	return nil
}

// fillNamespaces gives the namespaces of the root, in which this process is, too, their state.
func (b *builder) fillNamespaces() error { return errors.Join(b.fillUTS(), b.connectNetwork()) }

func (b *builder) fillUTS() error {
	uts := b.model.Namespace(record.NamespaceUTS)
	if uts == nil {
		return nil
	}
	if err := unix.Sethostname(uts.Host); err != nil {
		return fmt.Errorf("set the host's name in a UTS namespace: %w", err)
	}
	if err := unix.Setdomainname(uts.Domain); err != nil {
		return fmt.Errorf("set the domain's name in a UTS namespace: %w", err)
	}
	return nil
}

// startBeside starts this program in the namespaces of the root.
func (h *host) startBeside(kinds uint64, env []string) error {
	pidfd, err := unix.PidfdOpen(h.root, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(pidfd)
	h.init, err = puppet.StartInside(pidfd, int(unix.CLONE_NEWPID|kinds), os.Args, env)
	return err
}

// meet waits for the one that takes the place of that which was started, see
// replaceBySibling.
func (h *host) meet() error {
	ws, err := waitFor(h.init)
	if err != nil {
		return err
	}
	if ws.ExitStatus() != 0 {
		return fmt.Errorf("ckpt-apply could not be started inside of a pid namespace (it ended with %#x)", int(ws))
	}
	m, err := h.hear()
	if err != nil || m.kind != sayHere || m.pid <= 0 {
		return errors.Join(errors.New("ckpt-apply could not be started inside of a pid namespace"), err)
	}
	h.init = m.pid
	return nil
}

func waitFor(pid int) (ws unix.WaitStatus, err error) {
	for {
		if _, err = unix.Wait4(pid, &ws, 0, nil); err != unix.EINTR {
			return ws, os.NewSyscallError("wait4", err)
		}
	}
}

// besides goes on when the one beside the root has ended: with the program, if that runs.
func (h *host) besides(ws unix.WaitStatus) (int, error) {
	if h.ran {
		h.pass = func(sig unix.Signal) { _ = unix.Kill(h.root, sig) } // it may just have ended
		if wait, err := h.runs(); !wait {
			return 0, err
		}
		return h.supervisor.wait()
	}
	err := errors.Join(h.endRoot(), h.close())
	if ws.Signaled() {
		err = errors.Join(fmt.Errorf("the ckpt-apply inside of the pid namespace, and with it all that was made there, was ended by %s", unix.SignalName(ws.Signal())), err)
	}
	return ws.ExitStatus(), err
}

// endRoot ends the root, and with it all of its namespace. It ends last: not before those in
// there that are our children were waited for.
func (h *host) endRoot() error {
	if err := unix.Kill(h.root, unix.SIGKILL); err != nil {
		return os.NewSyscallError("kill", err)
	}
	for {
		switch got, err := unix.Wait4(-1, nil, 0, nil); {
		case err == unix.EINTR:
		case err != nil || got == h.root:
			return os.NewSyscallError("wait4", err)
		}
	}
}

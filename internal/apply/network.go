package apply

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/judge"
	"ckpt/internal/netns"
)

// network is what the one outside knows of the root's network namespace. It has its own at
// hand since before it started anybody: starting a process in other namespaces may take a
// thread there.
type network struct {
	own  *netns.Network // as the stream has it
	d    *netns.Decisions
	host *netns.Conn // to the user's network namespace
	fd   *os.File    // which this is, too
	ino  uint64      // and this its inode number
}

// hostNetwork judges the network namespace that a tree has to itself, before anything is made.
// ino is that of the user's network namespace, 0 if the tree has none to itself.
func hostNetwork(o *Options, m *judge.Model, own *caps.Process) (n *network, ino uint64, err error) {
	if err := judge.Network(m, o.Net); err != nil || m.Network() == nil {
		return nil, 0, err
	}
	if missing := own.Need(caps.Of(unix.CAP_NET_ADMIN), "", "make a network namespace"); len(missing) > 0 {
		return nil, 0, &judge.Refused{Reasons: missing}
	}
	if err := o.Net.CheckHost(); err != nil {
		return nil, 0, &judge.Refused{Reasons: []error{err}}
	}
	n = &network{own: m.Network(), d: o.Net}
	if n.fd, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return nil, 0, err
	}
	if n.host, err = netns.Dial(); err == nil {
		n.ino, err = netns.Here()
	}
	return n, n.ino, err
}

// fillNetwork makes what is in the tree's network namespace, in which this process is, before
// it is judged whether the tree can be restored: whether sockets can have their addresses
// can't be seen otherwise. Nothing of it is to be seen outside until connectNetwork.
func (b *builder) fillNetwork(o *Options) error {
	if err := judge.Network(b.model, o.Net); err != nil || b.model.Network() == nil {
		return err
	}
	if b.link == nil || b.link.net == 0 {
		return errors.New("there is no new network namespace for the tree")
	}
	c, err := netns.DialNew(b.link.net)
	if err != nil {
		return err
	}
	made, err := c.Make(b.model.Network(), o.Net)
	if err := errors.Join(err, c.Close()); err != nil {
		return err
	}
	b.netOut = len(made.Out) > 0
	if n := len(made.Lacks); n > 0 {
		b.note("this kernel has not all of the network settings that were saved: it lacks %s", listed(made.Lacks))
	}
	return nil
}

// listed names the first of several.
func listed(names []string) string {
	const most = 5
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

// connectNetwork has the one outside connect the network namespace with its own.
func (b *builder) connectNetwork() error {
	if !b.netOut {
		return nil
	}
	return b.link.ask(sayNet, nil, 0)
}

// connectNetwork connects the root's network namespace with this one.
func (h *host) connectNetwork() error {
	if h.net == nil {
		return errors.New("the tree has no network namespace to itself")
	}
	there, err := dialIn(h.root, h.net.ino)
	if err != nil {
		return err
	}
	err = there.MoveOut(h.net.host, int(h.net.fd.Fd()), h.net.own, h.net.d)
	return errors.Join(err, there.Close())
}

// dialIn makes a connection to the network namespace of a process, on a thread that goes there
// and ends.
func dialIn(pid int, host uint64) (c *netns.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		c, err = dialFrom(pid, host)
	}()
	<-done
	return c, err
}

func dialFrom(pid int, host uint64) (*netns.Conn, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(pidfd)
	if err := unix.Setns(pidfd, unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter a network namespace: %w", os.NewSyscallError("setns", err))
	}
	return netns.DialOther(host)
}

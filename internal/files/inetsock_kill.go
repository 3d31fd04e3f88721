package files

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/stream/record"
)

// ported is a TCP socket of the tree with a port.
type ported struct{ pid, fd, port int }

// notePort notes a socket that has a port: others need it again, or its connection will
// have it for a minute after the kill.
func (c *Collector) notePort(s *Subject, rec *record.InetSock) {
	if rec.Kind != unix.SOCK_STREAM || rec.Local == nil || rec.Local.Port == 0 || rec.Repair != nil { // of that nothing is left
		return
	}
	if binds(rec) {
		if c.ports == nil {
			c.ports = map[int]bool{}
		}
		c.ports[rec.Local.Port] = true
	} else if rec.Pair != 0 {
		c.paired = append(c.paired, ported{s.PID, s.FD, rec.Local.Port})
	} else if on, _ := optionOf(rec.Options, unix.SOL_SOCKET, unix.SO_REUSEADDR); on == 0 {
		c.lingering = append(c.lingering, ported{s.PID, s.FD, rec.Local.Port})
	}
}

// BeforeKill is called right before the tree with this first process is killed, and what it returns is ended
// after that. What is left of a connection after the kill would keep its port for a minute,
// and the restored tree would not have it, unless the connection has SO_REUSEADDR. So
// we hold those connections, and give it to them when the tree is dead: it is no
// longer anything that a program sees. One of which the tree has both ends is made
// again with the same two addresses, so nothing of it may be left.
func (c *Collector) BeforeKill(root int) (*Survivors, error) {
	if err := c.armKeeper(root); err != nil {
		return nil, err
	}
	s := &Survivors{after: c.endKeeping}
	hold := func(l ported, to *[]int) bool {
		fd, err := c.getter.Get(l.pid, l.fd)
		if err == nil {
			*to = append(*to, fd)
		}
		return err == nil // if there are too many, they take their minute
	}
	for _, l := range c.lingering {
		if c.ports[l.port] && !hold(l, &s.Reuse) {
			break
		}
	}
	for _, l := range c.paired {
		if !hold(l, &s.Abort) {
			break
		}
	}
	return s, nil
}

// Survivors are descriptors of connections of a tree that is being killed.
type Survivors struct {
	Reuse []int // their ports are to be free
	Abort []int // nothing of them is to be left
	after func(dead bool) error
}

// End closes the connections. dead: the tree was killed.
func (s *Survivors) End(dead bool) error {
	var errs []error
	for _, fd := range s.Abort {
		if dead {
			abort := unix.Linger{Onoff: 1}
			errs = append(errs, os.NewSyscallError("setsockopt", unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &abort)))
		}
	}
	for _, fd := range s.Reuse {
		if dead {
			errs = append(errs, os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)))
		}
	}
	for _, fd := range append(s.Reuse, s.Abort...) {
		errs = append(errs, os.NewSyscallError("close", unix.Close(fd)))
	}
	if s.after != nil {
		errs = append(errs, s.after(dead))
	}
	return errors.Join(errs...)
}

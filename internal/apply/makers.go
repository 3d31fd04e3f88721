package apply

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/files"
	"ckpt/internal/judge"
	"ckpt/internal/puppet"
	"ckpt/internal/sys"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// maker is a process that has, temporarily, the id and credentials of the one that made
// a pair of sockets, or had one listen or connect. The kernel records them for SO_PEERCRED, where a process id stays
// even when the process has ended.
type maker struct {
	puppet *puppet.Puppet // nil if the id is taken
	cred   *record.PeerCred
	own    bool              // it is the stub, which had to take on a user for that
	given  map[[2]uint64]int // see via
	note   string            // what is not as it was, until it is told
}

// socketPair makes a pair of unix sockets with the id and credentials of its maker.
func (b *builder) socketPair(kind int, c *record.PeerCred, untold bool) (fds [2]int, err error) {
	err = b.madeBy(c, untold, func(p *puppet.Puppet) error {
		fds, err = pairIn(p, kind)
		return err
	}, func() error {
		fds, err = unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		return err
	})
	return fds, err
}

// sockCall makes a call on a unix socket with the id and credentials of its caller.
func (b *builder) sockCall(c *record.PeerCred, call *files.SockCall) error {
	return b.madeBy(c, call.Untold, func(*puppet.Puppet) error { return b.maker.callIn(call) }, call.Do)
}

// madeBy does something in a process that has the id and credentials of c, or else here,
// as its user.
func (b *builder) madeBy(c *record.PeerCred, untold bool, there func(*puppet.Puppet) error, here func() error) error {
	if c == nil || c.PID == 0 {
		return here()
	}
	if m := b.maker; m == nil || m.cred.PID != c.PID || m.cred.UID != c.UID || m.cred.GID != c.GID || !slices.Equal(m.cred.Groups, c.Groups) {
		if err := b.newMaker(c); err != nil {
			return err
		}
	}
	if b.maker.note != "" && !untold {
		b.note("%s", b.maker.note)
		b.maker.note = ""
	}
	if b.maker.puppet != nil {
		return there(b.maker.puppet)
	}
	groups := c.Groups
	if groups == nil {
		groups = []uint32{}
	}
	err := sys.AsUser(uint32(unix.Getuid()), c.UID, uint32(unix.Getgid()), c.GID, groups, here)
	if errors.Is(err, unix.EPERM) {
		err = here()
	}
	return err
}

// callIn makes a call on a unix socket in a maker.
func (m *maker) callIn(c *files.SockCall) error {
	name := c.Name
	if c.Via >= 0 {
		via, err := m.via(c.Via)
		if err != nil {
			return err
		}
		name = files.ViaName(via)
	}
	v := m.puppet.Vector()
	fd := m.puppet.GiveIn(v, c.FD)
	if c.Listen {
		v.Add("make a unix socket listen", unix.SYS_LISTEN, 0, uint64(c.Backlog)).From(0, fd)
	} else {
		addr := sys.UnixAddr(name)
		v.Add("connect a unix socket", unix.SYS_CONNECT, 0, v.Put(addr), uint64(len(addr))).From(0, fd)
	}
	v.Add("close", unix.SYS_CLOSE, 0).From(0, fd)
	return v.Run()
}

// via gives a maker the file that it is to connect to, once, and returns its number
// there.
func (m *maker) via(fd int) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, os.NewSyscallError("fstat", err)
	}
	key := [2]uint64{st.Dev, st.Ino}
	if n, ok := m.given[key]; ok {
		return n, nil
	}
	if len(m.given) >= maxGiven {
		if err := m.puppet.CloseAll(); err != nil {
			return -1, err
		}
		clear(m.given)
	}
	n, err := m.puppet.Give(fd)
	if err == nil {
		m.given[key] = n
	}
	return n, err
}

// maxGiven is how many descriptors of files a maker has, fewer than any limit allows.
const maxGiven = 64

// newMaker makes a maker that replaces the present one.
func (b *builder) newMaker(c *record.PeerCred) error {
	if err := b.endMaker(); err != nil {
		return err
	}
	p, err := b.cloneMaker(c.PID)
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) { // EINVAL: above kernel.pid_max
		b.maker = &maker{cred: c, note: fmt.Sprintf("SO_PEERCRED of a unix socket names ckpt-apply: it named pid %d, %s", c.PID, takenOr(c.PID, "which can't be made here"))}
		return nil
	}
	if err != nil {
		return err
	}
	b.maker = &maker{puppet: p, cred: c, own: p == b.stub, given: map[[2]uint64]int{}}
	if !b.maker.own {
		b.puppets[c.PID] = p
	}
	err = become(p, c)
	if errors.Is(err, unix.EPERM) {
		b.maker.note = fmt.Sprintf("SO_PEERCRED of a unix socket no longer names user %d and group %d, which takes CAP_SETUID and CAP_SETGID", c.UID, c.GID)
		return nil
	}
	if err != nil {
		return fmt.Errorf("take on user %d for a unix socket: %w", c.UID, err)
	}
	return nil
}

// cloneMaker returns a process with an id. The init of a pid namespace has that from the
// beginning, and no siblings.
func (b *builder) cloneMaker(pid int) (*puppet.Puppet, error) {
	switch {
	case b.isInit(pid):
		return b.stub, nil
	case b.model.IsInit():
		return b.stub.Clone(pid, 0, unix.SIGCHLD)
	}
	return b.stub.Clone(pid, unix.CLONE_PARENT, 0)
}

func takenOr(pid int, other string) string {
	if taken := judge.PIDTaken(pid); len(taken) > 0 {
		return "and " + taken[0].Error()
	}
	return other
}

// become sets a puppet's groups and effective ids, where they differ.
func become(p *puppet.Puppet, c *record.PeerCred) error {
	now, err := sys.Groups()
	if err != nil {
		return err
	}
	if !sys.SameGroups(c.Groups, now) {
		at := p.Scratch().Addr
		if err := p.Tracee().WriteMem(at, task.PackGroups(c.Groups)); err != nil {
			return err
		}
		if err := tracee.CallOK(p, "set its groups", unix.SYS_SETGROUPS, uint64(len(c.Groups)), at); err != nil {
			return err
		}
	}
	const keep = uint64(^uint32(0))
	if int(c.GID) != unix.Getegid() {
		if err := tracee.CallOK(p, "set its group", unix.SYS_SETRESGID, keep, uint64(c.GID), keep); err != nil {
			return err
		}
	}
	if int(c.UID) != unix.Geteuid() {
		return tracee.CallOK(p, "set its user", unix.SYS_SETRESUID, keep, uint64(c.UID), keep)
	}
	return nil
}

// becomeAgain gives a puppet our groups and effective ids back.
func becomeAgain(p *puppet.Puppet) error {
	const keep = uint64(^uint32(0))
	if err := tracee.CallOK(p, "be its own user again", unix.SYS_SETRESUID, keep, uint64(unix.Geteuid()), keep); err != nil {
		return err
	}
	if err := tracee.CallOK(p, "be of its own group again", unix.SYS_SETRESGID, keep, uint64(unix.Getegid()), keep); err != nil {
		return err
	}
	own, err := os.Getgroups()
	if err != nil {
		return err
	}
	groups := make([]uint32, len(own))
	for i, g := range own {
		groups[i] = uint32(g)
	}
	if err := p.Tracee().WriteMem(p.Scratch().Addr, task.PackGroups(groups)); err != nil {
		return err
	}
	return tracee.CallOK(p, "have its own groups again", unix.SYS_SETGROUPS, uint64(len(groups)), p.Scratch().Addr)
}

// pairIn makes a pair of sockets in a puppet and moves both ends here.
func pairIn(p *puppet.Puppet, kind int) (fds [2]int, err error) {
	at := p.Scratch().Addr
	if err := tracee.CallOK(p, "make a pair of unix sockets", unix.SYS_SOCKETPAIR, unix.AF_UNIX, uint64(kind|unix.SOCK_CLOEXEC), 0, at); err != nil {
		return fds, err
	}
	buf := make([]byte, 8)
	if err := p.Tracee().ReadMem(at, buf); err != nil {
		return fds, err
	}
	for i := range fds {
		n := binary.LittleEndian.Uint32(buf[4*i:])
		if fds[i], err = tracee.GetFD(p.Tracee().PID, int(n)); err != nil {
			if i > 0 {
				unix.Close(fds[0])
			}
			return fds, err
		}
		if err := tracee.CallOK(p, "close", unix.SYS_CLOSE, uint64(n)); err != nil {
			return fds, err
		}
	}
	return fds, nil
}

// endMaker ends the maker.
func (b *builder) endMaker() error {
	m := b.maker
	b.maker = nil
	if m == nil || m.puppet == nil {
		return nil
	}
	if m.own {
		return errors.Join(m.puppet.CloseAll(), becomeAgain(m.puppet))
	}
	delete(b.puppets, m.cred.PID)
	return m.puppet.Tracee().Kill()
}

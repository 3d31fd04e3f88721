package repair

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/nft"
	"ckpt/internal/proc"
)

// GuardName is the name by which this program is told to be a guard.
const GuardName = "ckpt-guard"

// Descriptors with which a guard is born.
const (
	guardControl = iota // the other end of Keeper.control
	guardTables         // the socket that owns the table
	guardStderr
)

// What is said to a guard, in the first byte of a message. What else is said comes in
// JSON, and a descriptor with it.
const (
	sayKeep = 'S' // a socket that may be in repair from now on; the byte that follows is SO_REUSEADDR
	sayKill = 'K' // the target, by its pidfd, is about to be killed; the guard says so, too
	sayDone = 'D' // nothing is left to be done
)

const maxSayBytes = 4096

// lasting is what is to hold the connections of a target that was killed.
type lasting struct {
	Own, Table, Comment string
	TimeoutNS           int64
	PID                 int // whose death it is
}

// ownTable is how the name of a table with an owner begins, and Table that of any.
const (
	Table    = "ckpt-"
	ownTable = Table + "hold-"
)

// check refuses to be told to change anything but tables of ours: who may start this program
// need not be who may do that.
func (l *lasting) check() error {
	if !strings.HasPrefix(l.Own, ownTable) || !strings.HasPrefix(l.Table, Table) || l.TimeoutNS <= 0 || len(l.Table)+len(l.Comment) > 200 {
		return fmt.Errorf("tables %q and %q are none of ckpt-collect", l.Own, l.Table)
	}
	return nil
}

// kept is a socket of which we have a copy. It is no os.File: Go's epoll would watch it.
type kept struct{ fd, reuse int }

// flow is what nf_tables is told of it. ok is false if it is no longer connected.
func (k *kept) flow() (f nft.Flow, ok bool) {
	local, err := unix.Getsockname(k.fd)
	if err != nil {
		return f, false
	}
	peer, err := unix.Getpeername(k.fd)
	if err != nil {
		return f, false
	}
	f = nft.Flow{Local: addrPort(local), Peer: addrPort(peer)}
	return f, f.Local.IsValid() && f.Peer.IsValid()
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// bury does what is to be done when the target was killed, and we alone still have its
// sockets: they get into repair, so that closing them sends nothing, and what has held
// their packets becomes lasting. It is harmless to do it a second time.
func bury(socks []*kept, tables *nft.Conn, l *lasting) (n int, err error) {
	var flows []nft.Flow
	for _, k := range socks {
		if On(k.fd) != nil {
			continue // it has ended meanwhile
		}
		if flow, ok := k.flow(); ok {
			flows = append(flows, flow)
		}
	}
	return len(flows), tables.Exchange(l.Own, l.Table, l.Comment, flows, time.Duration(l.TimeoutNS))
}

// guard is the process that has the sockets, too.
type guard struct {
	socks  []*kept
	target int // a pidfd of the target that is about to be killed; -1: none is
	then   lasting
}

// Guard is the main function of a guard. It waits for its maker's end. Unless that had
// said that nothing is left to do, it does it.
func Guard() int {
	_ = os.WriteFile("/proc/self/comm", []byte(GuardName), 0) // for ps(1)
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGPIPE, unix.SIGTSTP)
	g := &guard{target: -1}
	done, err := g.listen()
	if done {
		return 0
	}
	tables := nft.Of(os.NewFile(guardTables, "nf_tables"))
	if g.target >= 0 && dies(g.then.PID, g.target) {
		_, _ = bury(g.socks, tables, &g.then) // it may have been done already
		return 0
	}
	for _, k := range g.socks {
		if Is(k.fd) {
			err = errors.Join(err, Off(k.fd, k.reuse))
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", GuardName, err)
		return 1
	}
	return 0
}

// listen takes what is said until there is nobody left to say anything.
func (g *guard) listen() (done bool, _ error) {
	for {
		b, fds, err := receive(guardControl)
		if err != nil || len(b) == 0 {
			return false, err
		}
		switch {
		case b[0] == sayKeep && len(b) == 2 && len(fds) == 1:
			g.socks = append(g.socks, &kept{fds[0], int(b[1])})
		case b[0] == sayKill && len(fds) == 1:
			err := json.Unmarshal(b[1:], &g.then)
			if err == nil {
				err = g.then.check()
			}
			if err != nil {
				return false, err
			}
			g.target = fds[0]
			if err := unix.Sendmsg(guardControl, b[:1], nil, nil, unix.MSG_NOSIGNAL); err != nil {
				return false, nil // there is nobody left
			}
		case b[0] == sayDone:
			return true, nil
		default:
			return false, fmt.Errorf("something was said that means nothing: %q", b)
		}
	}
}

// receive takes one message with its descriptors; an empty one is the end.
func receive(from int) (said []byte, fds []int, _ error) {
	b, oob := make([]byte, maxSayBytes), make([]byte, unix.CmsgSpace(4))
	for {
		n, on, flags, _, err := unix.Recvmsg(from, b, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, nil, os.NewSyscallError("recvmsg", err)
		case flags&unix.MSG_CTRUNC != 0:
			return nil, nil, errors.New("there is no room for another descriptor")
		}
		messages, err := unix.ParseSocketControlMessage(oob[:on])
		for i := range messages {
			more, rerr := unix.ParseUnixRights(&messages[i])
			fds, err = append(fds, more...), errors.Join(err, rerr)
		}
		return b[:n], fds, err
	}
}

// From linux/sched.h.
const exiting = 0x4 // PF_EXITING

// dies reports whether a process is dead or about to be, by SIGKILL. For an instant one that
// dies looks as if it lived, between taking the signal and beginning to end.
func dies(pid, pidfd int) bool {
	const looks, pause = 5, 10 * time.Millisecond
	for range looks {
		if doomed(pid) || ended(pidfd) { // in this order: only as long as it lives the id is its own
			return true
		}
		time.Sleep(pause)
	}
	return false
}

func doomed(pid int) bool {
	const kill = 1 << (unix.SIGKILL - 1)
	status, err := proc.ReadStatus(pid)
	if err != nil || (status.SigPnd|status.ShdPnd)&kill != 0 {
		return err == nil || proc.Gone(err)
	}
	stat, err := proc.ReadStat(pid)
	if err != nil {
		return proc.Gone(err)
	}
	return stat.Flags&exiting != 0 || stat.State == 'Z'
}

// ended reports whether a process has ended.
func ended(pidfd int) bool {
	n, _ := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
	return n > 0
}

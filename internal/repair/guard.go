package repair

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/nft"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
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
	sayHold = 'H' // this thread of ours, which traces the target, is to be traced; the answer is an answer
	sayRead = 'S' // this socket is to be read, and to be kept; and so is this
	sayFree = 'F' // nothing more is to be read; and this
	sayKill = 'K' // the target, by its pidfd, is about to be killed; the guard says so, too
	sayDone = 'D' // nothing is left to be done
)

const maxSayBytes = 4096

// answer is what a guard says of a socket. The bytes that the program wrote, if there are
// any, are in a memfd that comes with it.
type answer struct {
	Snapshot
	Sends int
	Err   string
}

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

// check refuses to be told to change anything but tables of ours.
func (l *lasting) check() error {
	if !strings.HasPrefix(l.Own, ownTable) || !strings.HasPrefix(l.Table, Table) || l.TimeoutNS <= 0 || len(l.Table)+len(l.Comment) > 200 {
		return fmt.Errorf("tables %q and %q are none of ckpt-collect", l.Own, l.Table)
	}
	return nil
}

// kept is a socket of which we have a copy. It is no os.File: Go's epoll would watch it.
type kept struct {
	fd   int
	flow nft.Flow
}

// flowOf is what nf_tables is told of a connection. It is an error if it is none, or no longer.
func flowOf(fd int) (f nft.Flow, err error) {
	local, err := unix.Getsockname(fd)
	if err != nil {
		return f, os.NewSyscallError("getsockname", err)
	}
	peer, err := unix.Getpeername(fd)
	if err != nil {
		return f, os.NewSyscallError("getpeername", err)
	}
	f = nft.Flow{Local: addrPort(local), Peer: addrPort(peer)}
	if !f.Local.IsValid() || !f.Peer.IsValid() {
		return f, errors.New("it is no connection of IP")
	}
	return f, nil
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
// sockets: what has held their packets becomes lasting, and they are ended, of which
// nothing leaves this system then. It is harmless to do it a second time.
func bury(socks []kept, tables *nft.Conn, l *lasting) error {
	flows := make([]nft.Flow, len(socks))
	for i, k := range socks {
		flows[i] = k.flow
	}
	err := tables.Exchange(l.Own, l.Table, l.Comment, flows, time.Duration(l.TimeoutNS))
	for _, k := range socks {
		_ = sys.Disconnect(k.fd) // it may have ended before
	}
	return err
}

// guard is the process that reads the sockets.
type guard struct {
	master *master // nil: it is not held
	socks  []kept
	target int // a pidfd of the target that is about to be killed; -1: none is
	then   lasting
}

// Guard is the main function of a guard. It reads sockets until its maker's end. Unless that
// had said that nothing is left to do, it does it.
func Guard() int {
	_ = os.WriteFile("/proc/self/comm", []byte(GuardName), 0) // for ps(1)
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGPIPE, unix.SIGTSTP)
	g := &guard{target: -1}
	err := Secure()
	if err == nil {
		undisturbed()
		err = g.listen()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", GuardName, err)
		return 1
	}
	return 0
}

// Secure is an error if this process may do more than who started it, by the file of the
// program: then anybody could have started it, to use what it may do for sockets of his own.
func Secure() error {
	const secure = 23 // AT_SECURE
	all, err := unix.Auxv()
	for _, a := range all {
		if a[0] == secure && a[1] != 0 {
			return errors.New("a program that has more rights than who starts it, by its file, does not do this for everybody")
		}
	}
	return err
}

// undisturbed has nothing delay this process while a socket is in repair, if that can be.
func undisturbed() {
	const collectBytes = 1 << 28
	debug.SetMemoryLimit(collectBytes)
	debug.SetGCPercent(-1)
	runtime.LockOSThread()
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0) // it takes CAP_SYS_NICE
}

// listen does what is said until there is nobody left to say anything.
func (g *guard) listen() error {
	for {
		b, fds, err := receive(guardControl)
		if err != nil {
			return err
		}
		switch {
		case len(b) == 0:
			g.alone()
			return nil
		case b[0] == sayHold:
			err = g.hold(b[1:])
		case b[0] == sayRead && len(fds) == 1:
			err = g.read(fds[0])
		case b[0] == sayFree && g.master != nil:
			g.master.letGo()
			g.master = nil
			err = g.say(answer{})
		case b[0] == sayKill && len(fds) == 1:
			err = g.arm(b, fds[0])
		case b[0] == sayDone:
			return nil
		default:
			return fmt.Errorf("something was said that means nothing: %q", b)
		}
		if err != nil && err != unix.EPIPE && err != unix.ECONNRESET { // there is nobody left: that is read next
			return err
		}
	}
}

// alone is called when our maker has ended.
func (g *guard) alone() {
	if g.target >= 0 && dies(g.then.PID, g.target) {
		_ = bury(g.socks, nft.Of(os.NewFile(guardTables, "nf_tables")), &g.then) // it may have been done already
	}
}

// hold holds the thread that traces the target.
func (g *guard) hold(tid []byte) error {
	n, err := strconv.Atoi(string(tid))
	if err == nil {
		g.master, err = traceMaster(n, nil)
	}
	if err != nil {
		return g.say(answer{Err: err.Error()})
	}
	return g.say(answer{})
}

// say gives an answer.
func (g *guard) say(a answer, fds ...int) error {
	b, err := json.Marshal(&a)
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	return unix.Sendmsg(guardControl, b, rights, nil, unix.MSG_NOSIGNAL)
}

// read answers with what is read of a socket.
func (g *guard) read(fd int) error {
	var a answer
	flow, err := flowOf(fd)
	if err == nil {
		g.socks = append(g.socks, kept{fd, flow})
		var s *Snapshot
		if s, err = g.master.read(fd); err == nil {
			a.Snapshot = *s
		}
	}
	if err != nil {
		a = answer{Err: err.Error()}
	}
	if a.Sends = len(a.Send); a.Sends == 0 {
		return g.say(a)
	}
	data, err := memory(a.Send)
	if err != nil {
		return err
	}
	defer unix.Close(data)
	return g.say(a, data)
}

// memory is a memfd with these bytes.
func memory(b []byte) (int, error) {
	fd, err := unix.MemfdCreate("sent", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	for at := 0; at < len(b); {
		n, err := unix.Pwrite(fd, b[at:], int64(at))
		if err != nil {
			unix.Close(fd)
			return -1, os.NewSyscallError("pwrite", err)
		}
		at += n
	}
	return fd, nil
}

// arm notes whose death is to be waited for.
func (g *guard) arm(b []byte, target int) error {
	err := json.Unmarshal(b[1:], &g.then)
	if err == nil {
		err = g.then.check()
	}
	if err != nil {
		return err
	}
	g.target = target
	return unix.Sendmsg(guardControl, b[:1], nil, nil, unix.MSG_NOSIGNAL)
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

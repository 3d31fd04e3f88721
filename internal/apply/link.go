package apply

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// What the init of a pid namespace, or who is beside it, and the ckpt-apply outside say to each other, in a
// message each that begins with one of these. Process ids are said in the credentials of a
// message, which the kernel translates from one namespace to the other.
const (
	sayHere    = 'h' // beside: this is its own process id
	sayRoot    = 'r' // init: this is the first process; it waits for an answer
	sayBegin   = 'b' // init: it is about to run; it waits for an answer
	sayLend    = 'l' // init: the same, and this process group gets the terminal
	sayAllow   = 'a' // init: all is built, of this checkpoint; it waits for an answer
	sayLoosen  = 'o' // init: the first task is about to be loosened; it waits for an answer
	sayRuns    = 'w' // init: it runs
	sayStopped = 's' // init: it was stopped
	sayNet     = 'n' // beside: the network namespace is made, connect it; it waits for an answer
	sayDone    = 'd' // outside: an answer, with what went wrong, if anything did
	saySignal  = 'k' // outside: pass this signal on
)

// maxSaid is the length of the longest message.
const maxSaid = 4096

// said is a message.
type said struct {
	kind byte
	text []byte
	pid  int // as it is here
}

// line is one end of the socket pair between both.
type line int

// newLine returns both ends. That of the init is not closed on exec.
func newLine() (ours, its line, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		return -1, -1, os.NewSyscallError("setsockopt", err)
	}
	if _, err = unix.FcntlInt(uintptr(pair[1]), unix.F_SETFD, 0); err != nil {
		return -1, -1, os.NewSyscallError("fcntl", err)
	}
	return line(pair[0]), line(pair[1]), nil
}

// say sends a message. pid is 0 or a process that it names.
func (l line) say(kind byte, text []byte, pid int) error {
	text = text[:min(len(text), maxSaid-1)]
	var oob []byte
	if pid != 0 {
		oob = unix.UnixCredentials(&unix.Ucred{Pid: int32(pid), Uid: uint32(unix.Getuid()), Gid: uint32(unix.Getgid())})
	}
	err := unix.Sendmsg(int(l), append([]byte{kind}, text...), oob, nil, unix.MSG_NOSIGNAL)
	if err != nil {
		return fmt.Errorf("tell the other side of the pid namespace: %w", err)
	}
	return nil
}

// errHungUp: the other side has ended.
var errHungUp = errors.New("the other side of the pid namespace has ended")

// hear waits for the next message.
func (l line) hear() (said, error) {
	buf, oob := make([]byte, maxSaid), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	for {
		n, on, _, _, err := unix.Recvmsg(int(l), buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return said{}, errors.Join(errHungUp, err)
		}
		m := said{kind: buf[0]}
		if n > 1 {
			m.text = buf[1:n]
		}
		if all, err := unix.ParseSocketControlMessage(oob[:on]); err == nil && len(all) == 1 {
			if cred, err := unix.ParseUnixCredentials(&all[0]); err == nil {
				m.pid = int(cred.Pid)
			}
		}
		return m, nil
	}
}

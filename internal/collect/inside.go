package collect

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/files"
	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// insideVar is the environment variable that makes ckpt-collect the one that works inside of
// the target's pid namespace. It has the descriptor by which it is in touch with the one
// outside, the target's id there, that of the other, and whether the target's UTS, IPC,
// cgroup and network namespaces are others than its.
const insideVar = "CKPT_COLLECT_INSIDE"

func insideSetting(line, target int) string {
	return fmt.Sprintf("%s=%d,%d,%d,%t,%t,%t,%t", insideVar, line, target, os.Getpid(),
		hasOwn(target, record.NamespaceUTS), hasOwn(target, record.NamespaceIPC), hasOwn(target, record.NamespaceCgroup), hasOwn(target, record.NamespaceNet))
}

// isInside reports whether this process was started by a front: its parent is in another
// pid namespace.
func isInside() bool { return os.Getppid() == 0 && os.Getenv(insideVar) != "" }

// isHidden reports whether nobody in the target's pid namespace is to look into this process,
// see puppet.StartInside. With another user than root it could not itself do so; it is
// enough then that nobody has all its capabilities, see members.
func isHidden() bool { return isInside() && os.Geteuid() == 0 }

// inside is this process's part when it is in the target's pid namespace. All that it reads
// and calls then means by a process id what the target means by it.
type inside struct {
	line    int
	outside int // the target's id where the user is
	front   int // and that of the other ckpt-collect
	own     ownKinds
	refused chan error
}

// ownKinds are kinds of namespaces of which the target has others than the user.
type ownKinds struct{ uts, ipc, cgroup, net bool }

// What is said between both, with descriptors.
const (
	sayReuse = 'r' // inside: these are files.Survivors.Reuse
	sayAbort = 'a' // inside: these are files.Survivors.Abort
	sayKill  = 'k' // inside: kill the target, and with it this process
	sayLives = 'l' // inside: it lives
	sayNot   = 'n' // outside: it could not be killed, and why
)

// newInside makes this process the one inside.
func newInside() (*inside, error) {
	in := &inside{refused: make(chan error)}
	if _, err := fmt.Sscanf(os.Getenv(insideVar), "%d,%d,%d,%t,%t,%t,%t", &in.line, &in.outside, &in.front, &in.own.uts, &in.own.ipc, &in.own.cgroup, &in.own.net); err != nil {
		return nil, fmt.Errorf("%s in the environment is not for users", insideVar)
	}
	os.Unsetenv(insideVar)
	unix.CloseOnExec(in.line)
	// The terminal's signals are for the one outside, which passes them on.
	signal.Ignore(unix.SIGTTOU)
	if err := unix.Setpgid(0, 0); err != nil {
		return nil, os.NewSyscallError("setpgid", err)
	}
	if err := proc.UseOwn(); err != nil {
		return nil, fmt.Errorf("have a /proc for the pid namespace of pid %d: %w", in.outside, err)
	}
	go in.listen()
	go in.lives()
	return in, nil
}

// lives tells the one outside again and again that this process is not kept from running.
func (in *inside) lives() {
	for say(in.line, sayLives, "", nil) == nil {
		time.Sleep(lifeSign)
	}
}

// listen ends this process when nobody is outside any more, which lets the target go. If it
// can't, because all of this process was stopped, the kernel does, see puppet.StartInside.
func (in *inside) listen() {
	for {
		kind, text, _, err := hear(in.line)
		switch {
		case err != nil:
			os.Exit(cli.StatusFailed)
		case kind == sayNot:
			in.refused <- errors.New(text)
		}
	}
}

// kill has the target killed from outside, where alone the init of a pid namespace can be
// killed, and with it all of that, this process too: so it returns only if that fails. left
// is ended outside.
func (in *inside) kill(left *files.Survivors) error {
	for kind, fds := range map[byte][]int{sayReuse: left.Reuse, sayAbort: left.Abort} {
		for len(fds) > 0 {
			n := min(len(fds), maxRights)
			if err := say(in.line, kind, "", fds[:n]); err != nil {
				return err
			}
			fds = fds[n:]
		}
	}
	if err := say(in.line, sayKill, "", nil); err != nil {
		return err
	}
	return fmt.Errorf("pid %d could not be killed: %w", in.outside, <-in.refused)
}

// explain says which process ids an error means.
func (in *inside) explain(err error) error {
	if err == nil {
		return nil
	}
	return cli.WithHint(err, fmt.Sprintf("process ids are those in the pid namespace of pid %d", in.outside))
}

const (
	maxRights    = 64 // descriptors in one message; SCM_MAX_FD of the kernel is 253
	maxSaidBytes = 4096
)

// say sends a message.
func say(line int, kind byte, text string, fds []int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	b := append([]byte{kind}, text[:min(len(text), maxSaidBytes-1)]...)
	if err := unix.Sendmsg(line, b, oob, nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("tell the ckpt-collect at the other end of the pid namespace: %w", err)
	}
	return nil
}

// hear waits for a message. An error says that there is nobody any more.
func hear(line int) (kind byte, text string, fds []int, err error) {
	buf, oob := make([]byte, maxSaidBytes), make([]byte, unix.CmsgSpace(4*maxRights))
	for {
		n, on, _, _, err := unix.Recvmsg(line, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return 0, "", nil, errors.Join(errors.New("the other ckpt-collect has ended"), err)
		}
		if all, err := unix.ParseSocketControlMessage(oob[:on]); err == nil && len(all) == 1 {
			fds, _ = unix.ParseUnixRights(&all[0])
		}
		return buf[0], string(buf[1:n]), fds, nil
	}
}

// named is the target's process id where the user is.
func (o *Options) named() int {
	if o.Inside != nil {
		return o.Inside.outside
	}
	return o.PID
}

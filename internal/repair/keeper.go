package repair

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/nft"
)

// Keeper keeps connections of a target: their packets are held as long as it lives, and it
// and its guard have the sockets. Whichever of the two ends first, the other leaves the
// sockets as they are to be.
type Keeper struct {
	tables  *nft.Conn
	own     string   // the table that holds the packets
	control *os.File // to the guard
	socks   []*kept
	pid     int           // of the guard
	over    chan struct{} // closed when the guard has ended
	closed  sync.Once
}

// ErrGuard: the guard has died.
var ErrGuard = errors.New("the process that guards the TCP connections while they are read has died")

// Start holds the packets of these connections, and starts a guard.
func Start(flows []nft.Flow) (*Keeper, error) {
	k := &Keeper{own: TableName(), over: make(chan struct{})}
	var err error
	if k.tables, err = nft.Dial(); err != nil {
		return nil, err
	}
	if err := k.startGuard(); err != nil {
		return nil, errors.Join(err, k.tables.Close())
	}
	if err := k.tables.Own(k.own, flows); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// TableName is one that nobody has.
func TableName() string {
	name := make([]byte, 8)
	rand.Read(name)
	return ownTable + hex.EncodeToString(name)
}

// startGuard starts this very program as the guard, in a session of its own, which no
// signal of a terminal reaches. A thread of its own is its parent: that of ckpt-collect
// which traces waits for all its children.
func (k *Keeper) startGuard() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(pair[1])
	k.control = os.NewFile(uintptr(pair[0]), "the guard of TCP connections")
	begun := make(chan error)
	go func() {
		pid, _, err := syscall.StartProcess("/proc/self/exe", []string{GuardName}, &syscall.ProcAttr{
			Env: []string{}, Sys: &syscall.SysProcAttr{Setsid: true},
			Files: []uintptr{guardControl: uintptr(pair[1]), guardTables: k.tables.File().Fd(), guardStderr: 2},
		})
		k.pid = pid
		begun <- err
		if err == nil {
			_, err = unix.Wait4(pid, nil, 0, nil)
			for err == unix.EINTR {
				_, err = unix.Wait4(pid, nil, 0, nil)
			}
		}
		close(k.over)
	}()
	if err := <-begun; err != nil {
		return errors.Join(fmt.Errorf("start this program again to guard TCP connections: %w", err), k.control.Close())
	}
	return nil
}

// GuardPID is the process id of the guard.
func (k *Keeper) GuardPID() int { return k.pid }

// Over is closed when the guard has ended.
func (k *Keeper) Over() <-chan struct{} { return k.over }

// Read reads a connection of the target, whose socket, a descriptor of ours, it takes over.
func (k *Keeper) Read(fd int) (s *Snapshot, err error) {
	reuse, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	k.socks = append(k.socks, &kept{fd, reuse})
	// It need not answer: what was said is in its queue, and the socket with it.
	if err := k.say([]byte{sayKeep, byte(reuse)}, fd); err != nil {
		return nil, err
	}
	if err := On(fd); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, Off(fd, reuse)) }()
	return Read(fd)
}

func (k *Keeper) say(b []byte, fds ...int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	for {
		err := unix.Sendmsg(int(k.control.Fd()), b, rights, nil, unix.MSG_NOSIGNAL)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
		case unix.EPIPE, unix.ECONNRESET:
			return ErrGuard
		default:
			return fmt.Errorf("the guard of TCP connections: %w", os.NewSyscallError("sendmsg", err))
		}
	}
}

// Hold is how the packets of connections are held when their program is dead.
type Hold struct {
	Table, Comment string
	Timeout        time.Duration
}

func (h *Hold) then(own string, pid int) *lasting {
	return &lasting{Own: own, Table: h.Table, Comment: h.Comment, TimeoutNS: int64(h.Timeout), PID: pid}
}

// Arm tells the guard that a process is about to be killed. Should we end once it is, the
// guard does what Bury does.
func (k *Keeper) Arm(pid int, h *Hold) error {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(pidfd)
	b, err := json.Marshal(h.then(k.own, pid))
	if err != nil {
		return err
	}
	if err := k.say(append([]byte{sayKill}, b...), pidfd); err != nil {
		return err
	}
	if b, _, err := receive(int(k.control.Fd())); err != nil || len(b) != 1 {
		return errors.Join(ErrGuard, err)
	}
	return nil
}

// Bury is called when the target is dead. Nothing of its connections is left but that their
// packets are held, see bury. It returns how many.
func (k *Keeper) Bury(h *Hold) (int, error) {
	n, err := bury(k.socks, k.tables, h.then(k.own, 0))
	if err == nil {
		_ = k.say([]byte{sayDone}) // it does no harm if it does it again
	}
	return n, errors.Join(err, k.end())
}

// Close lets the connections go on, as if nothing had been. It does nothing the second time,
// or after Bury.
func (k *Keeper) Close() (err error) {
	k.closed.Do(func() {
		err = errors.Join(k.tables.Delete(k.own), k.release())
	})
	return err
}

func (k *Keeper) end() (err error) {
	k.closed.Do(func() { err = k.release() })
	return err
}

// release closes all, after the guard has.
func (k *Keeper) release() error {
	errs := []error{k.control.Close()}
	<-k.over
	for _, s := range k.socks {
		errs = append(errs, os.NewSyscallError("close", unix.Close(s.fd)))
	}
	return errors.Join(append(errs, k.tables.Close())...)
}

package repair

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/nft"
)

// Keeper keeps connections of a target: their packets are held as long as one of it and its
// guard lives, and both have the sockets. Whichever of the two ends first, the other leaves
// the sockets as they are to be.
type Keeper struct {
	tables  *nft.Conn
	own     string   // the table that holds the packets
	control *os.File // to the guard
	socks   []kept
	pid     int           // of the guard
	pidfd   int           // of the guard, too
	over    chan struct{} // closed when the guard has ended
	patient *time.Timer   // which ends the guard when it is over
	closed  sync.Once
}

// ErrGuard: the guard has died, or was killed because it did not answer.
var ErrGuard = errors.New("the process that guards the TCP connections while they are read has died")

// guardPatience is how long a guard may take. It may have been stopped.
const guardPatience = 5 * time.Second

// Start holds the packets of these connections, and starts a guard.
func Start(flows []nft.Flow) (*Keeper, error) {
	k := &Keeper{own: TableName(), over: make(chan struct{})}
	var err error
	if k.tables, err = nft.Dial(); err != nil {
		return nil, err
	}
	Sweep(k.tables)
	if err := k.startGuard(); err != nil {
		return nil, errors.Join(err, k.tables.Close())
	}
	if err := k.tables.Own(k.own, flows); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// Sweep deletes the lasting tables of which everything has timed out. What it can't do, the
// next one does.
func Sweep(tables *nft.Conn) {
	names, _ := tables.Tables()
	for _, name := range names {
		id, ours := strings.CutPrefix(name, Table)
		if b, err := hex.DecodeString(id); !ours || err != nil || len(b) != idBytes {
			continue
		}
		if flows, there, err := tables.Held(name); err == nil && there && len(flows) == 0 {
			_ = tables.Delete(name)
		}
	}
}

// idBytes is how long the id of a checkpoint is.
const idBytes = 16

// LastingName is the table that holds the connections of an image, by its checkpoint's id;
// "" if it is none of ours.
func LastingName(checkpoint string) string {
	if id, err := hex.DecodeString(checkpoint); err != nil || len(id) != idBytes {
		return ""
	}
	return Table + checkpoint
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
			Env: []string{}, Sys: &syscall.SysProcAttr{Setsid: true, PidFD: &k.pidfd},
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

// Reading calls f, which reads sockets. It is called by the thread that traces the target, and
// holds that: even if we are killed, the target runs only when none of the sockets is in repair.
func (k *Keeper) Reading(f func() error) (err error) {
	// Where Yama restricts tracing, the guard, a child, may trace us only if we say so.
	_ = unix.Prctl(unix.PR_SET_PTRACER, uintptr(k.pid), 0, 0, 0)
	defer func() { _ = unix.Prctl(unix.PR_SET_PTRACER, 0, 0, 0, 0) }()
	// Not by this thread, which the guard may keep from running.
	k.patient = time.AfterFunc(guardPatience, k.endGuard)
	defer k.patient.Stop()
	if _, err := k.ask(strconv.AppendInt([]byte{sayHold}, int64(unix.Gettid()), 10)); err != nil {
		return err
	}
	if err = f(); errors.Is(err, ErrGuard) {
		return err
	}
	_, ferr := k.ask([]byte{sayFree})
	return errors.Join(err, ferr)
}

// Read reads a connection of the target, while Reading. It takes over the socket, a
// descriptor of ours.
func (k *Keeper) Read(fd int) (*Snapshot, error) {
	k.socks = append(k.socks, kept{fd: fd})
	flow, err := flowOf(fd)
	if err != nil {
		return nil, err
	}
	k.socks[len(k.socks)-1].flow = flow
	reuse, err := get(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, "SO_REUSEADDR")
	if err != nil {
		return nil, err
	}
	s, err := k.ask([]byte{sayRead}, fd)
	if errors.Is(err, ErrGuard) { // in the middle, perhaps
		return nil, errors.Join(err, Off(fd, reuse))
	}
	if err != nil {
		return nil, err
	}
	// This is there out of repair, too, and as long as the program stands still it is.
	s.Recv = make([]byte, s.Received)
	if len(s.Recv) > 0 {
		err = peek(fd, s.Recv)
	}
	return s, err
}

// ask says something that the guard answers. After ErrGuard, the guard does nothing any more.
func (k *Keeper) ask(b []byte, fds ...int) (*Snapshot, error) {
	k.patient.Reset(guardPatience)
	if err := k.say(b, fds...); err != nil {
		return nil, err
	}
	b, fds, err := k.answer()
	if err != nil {
		return nil, err
	}
	for _, fd := range fds {
		defer unix.Close(fd)
	}
	var a answer
	switch err := json.Unmarshal(b, &a); {
	case err != nil:
		return nil, err
	case a.Err != "":
		return nil, errors.New(a.Err)
	case a.Sends > 0 && len(fds) == 1:
		a.Send = make([]byte, a.Sends)
		if n, err := unix.Pread(fds[0], a.Send, 0); err != nil || n != a.Sends {
			return nil, fmt.Errorf("the guard of TCP connections: %d of %d bytes: %w", n, a.Sends, os.NewSyscallError("pread", err))
		}
	}
	return &a.Snapshot, nil
}

// answer is what the guard says.
func (k *Keeper) answer() ([]byte, []int, error) {
	b, fds, err := receive(int(k.control.Fd()))
	if err != nil || len(b) == 0 {
		return nil, nil, k.lost()
	}
	return b, fds, nil
}

func (k *Keeper) endGuard() { _ = unix.PidfdSendSignal(k.pidfd, unix.SIGKILL, nil, 0) }

// lost makes sure that the guard has ended.
func (k *Keeper) lost() error {
	k.endGuard()
	<-k.over
	return ErrGuard
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
			return k.lost()
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
	patient := time.AfterFunc(guardPatience, k.endGuard)
	defer patient.Stop()
	if err := k.say(append([]byte{sayKill}, b...), pidfd); err != nil {
		return err
	}
	_, _, err = k.answer()
	return err
}

// Bury is called when the target is dead. Nothing of its connections is left but that their
// packets are held, see bury. It returns how many.
func (k *Keeper) Bury(h *Hold) (int, error) {
	err := bury(k.socks, k.tables, h.then(k.own, 0))
	if err == nil {
		_ = k.say([]byte{sayDone}) // it does no harm if it does it again
	}
	return len(k.socks), errors.Join(err, k.end())
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
	select {
	case <-k.over:
	case <-time.After(guardPatience):
		_ = k.lost()
	}
	errs = append(errs, os.NewSyscallError("close", unix.Close(k.pidfd)))
	for _, s := range k.socks {
		errs = append(errs, os.NewSyscallError("close", unix.Close(s.fd)))
	}
	return errors.Join(append(errs, k.tables.Close())...)
}

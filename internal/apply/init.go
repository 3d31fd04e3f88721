package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/cli"
	"ckpt/internal/proc"
	"ckpt/internal/puppet"
	"ckpt/internal/sys"
)

// initVar is the environment variable that makes ckpt-apply the init of a pid namespace, or
// one beside that.
const initVar = "CKPT_APPLY_INIT"

// initSetting is what the init is told by that.
type initSetting struct {
	line   line
	head   int      // the descriptor of the description
	first  int      // the process id from which on its threads are to have theirs; 0 if they have
	user   bool     // it is in a user namespace, too
	beside bool     // it is not the init, but restores that
	net    uint64   // the network namespace outside, by its inode number; 0 if it is there, too
	groups []uint32 // the supplementary groups, which /proc may not tell there
}

func (s initSetting) String() string {
	text := fmt.Sprintf("%s=%d,%d,%d,%t,%t,%d", initVar, s.line, s.head, s.first, s.user, s.beside, s.net)
	for _, g := range s.groups {
		text += fmt.Sprintf(",%d", g)
	}
	return text
}

// parseSetting is the inverse of String, without the name of the variable.
func parseSetting(text string) (s initSetting, err error) {
	words := strings.Split(text, ",")
	if len(words) < 6 {
		return s, errNotForUsers
	}
	number := func(word string) uint64 {
		n, e := strconv.ParseUint(word, 10, 32)
		err = errors.Join(err, e)
		return n
	}
	s = initSetting{line: line(number(words[0])), head: int(number(words[1])), first: int(number(words[2])), user: words[3] == "true", beside: words[4] == "true", net: number(words[5])}
	for _, word := range words[6:] {
		s.groups = append(s.groups, uint32(number(word)))
	}
	if err != nil {
		return s, errNotForUsers
	}
	return s, nil
}

var errNotForUsers = errors.New(initVar + " in the environment is not for users")

// The parent-death signal of an init belongs to its first thread, which alone can end it.
func init() { runtime.LockOSThread() }

// isInit reports whether this process was started by puppet.StartInit.
func isInit() bool { return os.Getpid() == 1 && os.Getenv(initVar) != "" }

// initLink is how the init of a pid namespace, or a ckpt-apply beside that, is in touch with
// the ckpt-apply outside, and the keeper there. Who is outside has the terminal, and is sent
// the user's signals.
type initLink struct {
	line
	beside   bool
	net      uint64 // see initSetting
	o        *Options
	own      *caps.Process
	given    []int // descriptors that the user gave to ckpt-apply
	root     int
	cancel   context.CancelCauseFunc
	answers  chan said
	signals  chan unix.Signal
	running  atomic.Bool
	detached atomic.Bool
}

// newLink makes this process the init of its namespace, or the one beside. The context that
// it returns ends when the user wants that. head is the description, which was read outside.
func newLink(ctx context.Context, o *Options) (l *initLink, head io.Reader, _ context.Context, err error) {
	// A signal of the terminal comes to both. What is to be done about it is told from outside.
	signal.Notify(make(chan os.Signal, 1), append(forwarded, unix.SIGTTIN, unix.SIGTTOU)...)
	o.Running()
	s, err := parseSetting(os.Getenv(initVar))
	if err != nil {
		return nil, nil, nil, err
	}
	os.Unsetenv(initVar)
	if s.beside {
		err = puppet.DieWithParent()
	}
	if err == nil && s.first != 0 {
		err = startAgain(s)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	if s.user {
		sys.TellGroups(s.groups)
	}
	l = &initLink{o: o, line: s.line, beside: s.beside, net: s.net, answers: make(chan said), signals: make(chan unix.Signal, 16)}
	unix.CloseOnExec(int(l.line))
	unix.CloseOnExec(s.head)
	if err := l.moveIn(); err != nil { // before it is looked for in /proc
		return nil, nil, nil, err
	}
	if l.own, err = caps.Own(); err != nil {
		return nil, nil, nil, err
	}
	l.own.UserNS = s.user
	if l.given, err = givenFDs(); err != nil {
		return nil, nil, nil, err
	}
	ctx, l.cancel = context.WithCancelCause(ctx)
	go l.listen()
	return l, untilEnd{os.NewFile(uintptr(s.head), "description")}, ctx, nil
}

// untilEnd is a file that is closed when its end is met.
type untilEnd struct{ f *os.File }

func (r untilEnd) Read(b []byte) (int, error) {
	n, err := r.f.Read(b)
	if err == io.EOF {
		r.f.Close()
	}
	return n, err
}

// moveIn gives this process a /proc of its pid namespace, and its name.
func (l *initLink) moveIn() error {
	move, name := ownProc, "ckpt-init"
	if l.beside { // the tree has the mounts that are here
		move, name = proc.UseOwn, Tool
	}
	if err := errors.Join(move(), os.WriteFile("/proc/self/comm", []byte(name), 0)); err != nil || !l.beside {
		return err
	}
	return l.say(sayHere, nil, os.Getpid())
}

// startAgain starts this program anew, with threads whose ids begin with first: a Go program
// has several before its first line, and so they have ids that the tree may need. The id of
// one that is not the init may be among them, too, and so another takes its place. It
// returns only an error.
func startAgain(s initSetting) error {
	if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(s.first-1)), 0); err != nil {
		return fmt.Errorf("choose the process ids of a pid namespace: %w", err)
	}
	s.first = 0
	if s.beside {
		if err := puppet.StartSibling(os.Args, append(os.Environ(), s.String())); err != nil {
			return err
		}
		os.Exit(0)
	}
	return os.NewSyscallError("execve", unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), s.String())))
}

// ownProc mounts a /proc of this pid namespace. This mount namespace is a new one, which
// gets what is mounted and unmounted outside, but nothing that is done here shows there.
func ownProc() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil && err != unix.EINVAL { // a root that is no mount
		return fmt.Errorf("keep mounts from the outside: %w", err)
	}
	if err := unix.Mount("", "/proc", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("keep mounts below /proc from the outside: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount a /proc for a pid namespace: %w", err)
	}
	return nil
}

// givenFDs returns the descriptors beyond standard error that this program was started
// with: those not to be closed on exec.
func givenFDs() (fds []int, err error) {
	all, err := os.ReadDir("/proc/self/fd")
	for _, e := range all {
		fd, _ := strconv.Atoi(e.Name())
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); fd > 2 && err == nil && flags&unix.FD_CLOEXEC == 0 {
			fds = append(fds, fd)
		}
	}
	return fds, err
}

// listen takes what is said from outside. When nobody is there any more, all ends.
func (l *initLink) listen() {
	for {
		m, err := l.hear()
		switch {
		case err != nil && l.detached.Load():
			_ = unix.Close(int(l.line))
			return
		case err != nil:
			os.Exit(cli.StatusOwn)
		case m.kind == sayDone:
			l.answers <- m
		case m.kind != saySignal || len(m.text) != 1:
		case l.running.Load():
			select {
			case l.signals <- unix.Signal(m.text[0]):
			default: // as many already wait
			}
		default:
			l.cancel(&cli.Signalled{Signal: unix.Signal(m.text[0])})
		}
	}
}

// ask says something and waits until it is done.
func (l *initLink) ask(kind byte, text []byte, pid int) error {
	if err := l.say(kind, text, pid); err != nil {
		return err
	}
	if m := <-l.answers; len(m.text) > 0 {
		return errors.New(string(m.text))
	}
	return nil
}

func (l *initLink) announce(pid int) error {
	l.root = pid
	return l.ask(sayRoot, nil, pid)
}

func (l *initLink) begin(group int, termios []byte) error {
	l.running.Store(true)
	if group == 0 {
		return l.ask(sayBegin, nil, 0)
	}
	return l.ask(sayLend, termios, group)
}

func (l *initLink) leave() error {
	if !l.o.Detach && !l.beside {
		return nil
	}
	l.detached.Store(true)
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0))
}

func (l *initLink) runs() (wait bool, err error) {
	if l.beside { // the one outside, if it is still there, is its parent
		_ = l.say(sayRuns, nil, 0)
		return false, l.leaveAll()
	}
	if !l.o.Detach {
		return true, l.say(sayRuns, nil, 0)
	}
	err = l.detach()
	_ = l.say(sayRuns, nil, 0) // there may be nobody any more
	return true, err
}

// leaveAll closes what the user gave us, so that the tree, which our end lets run, can't get it
// from us in that moment.
func (l *initLink) leaveAll() error {
	for _, fd := range append([]int{0, 1, 2, int(l.line)}, l.given...) {
		if err := unix.Close(fd); err != nil && err != unix.EBADF {
			return os.NewSyscallError("close", err)
		}
	}
	return nil
}

// detach leaves everything that the one outside and its user might wait for.
func (l *initLink) detach() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	for fd := range 3 {
		if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	for _, fd := range l.given {
		_ = unix.Close(fd)
	}
	if _, err := unix.Setsid(); err != nil {
		return os.NewSyscallError("setsid", err)
	}
	return os.Chdir("/")
}

// wait passes on what comes from outside and returns the exit status of the program.
// When that ends, so does this process, and with it the kernel ends all that is left here.
func (l *initLink) wait() (int, error) {
	changes, failed := watchChild(l.root)
	for {
		select {
		case sig := <-l.signals:
			_ = unix.Kill(l.root, sig) // it may just have ended
		case ws := <-changes:
			if status, ended := shellStatus(ws); ended {
				return status, nil
			}
			if l.o.Detach {
				continue
			}
			if err := l.say(sayStopped, nil, 0); err != nil {
				return 0, err
			}
		case err := <-failed:
			return 0, err
		}
	}
}

func (l *initLink) close() error { return nil }

package drain

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/repair"
)

// GuardName is the name by which this program is told to be a guard.
const GuardName = "ckpt-mq-guard"

// Descriptors with which a guard is born.
const (
	guardControl = iota // a socket to its maker
	guardMemory
	guardStderr
	guardQueues // and on
)

// guardPatience is how long a guard may take. It may have been stopped.
const guardPatience = 5 * time.Second

// Read reads what waits in queues. It is called by the thread that traces all who use them.
// The messages are there until close.
func Read(queues []Queue) (messages [][]Message, close func() error, err error) {
	fd, err := unix.MemfdCreate("messages", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, nil, os.NewSyscallError("memfd_create", err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(memoryBytes(queues))); err != nil {
		return nil, nil, os.NewSyscallError("ftruncate", err)
	}
	mem, err := mapMemory(fd, memoryBytes(queues))
	if err != nil {
		return nil, nil, err
	}
	close = func() error { return os.NewSyscallError("munmap", unix.Munmap(mem)) }
	all := prepare(mem, queues)
	if err := guarded(fd, queues, func() error { return finish(all) }); err != nil {
		return nil, nil, errors.Join(err, close())
	}
	for _, r := range all {
		messages = append(messages, r.messages())
	}
	return messages, close, nil
}

// mapMemory maps memory that is there: where the kernel had to get some while it takes a message
// from a queue, a signal that kills could make it fail.
func mapMemory(fd, size int) ([]byte, error) {
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	_ = unix.Mlock(mem) // as far as that may be
	return mem, nil
}

// guarded does something while a guard holds this thread.
func guarded(memory int, queues []Queue, do func() error) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(pair[0])
	pid, pidfd, over, err := start(pair[1], memory, queues)
	if err := errors.Join(err, os.NewSyscallError("close", unix.Close(pair[1]))); err != nil {
		return fmt.Errorf("start this program again to guard message queues: %w", err)
	}
	defer unix.Close(pidfd)
	// Where Yama restricts tracing, the guard, a child, may trace us only if we say so.
	_ = unix.Prctl(unix.PR_SET_PTRACER, uintptr(pid), 0, 0, 0)
	defer func() { _ = unix.Prctl(unix.PR_SET_PTRACER, 0, 0, 0, 0) }()
	// Not by this thread, which the guard may keep from running.
	patient := time.AfterFunc(guardPatience, func() { _ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0) })
	defer patient.Stop()
	if _, err := unix.Write(pair[0], []byte{byte(len(queues))}); err != nil {
		return errors.Join(os.NewSyscallError("write", err), ended(over))
	}
	said := make([]byte, 256)
	n, err := unix.Read(pair[0], said)
	for err == unix.EINTR {
		n, err = unix.Read(pair[0], said)
	}
	if err != nil || n != 1 {
		return errors.Join(fmt.Errorf("the process that is to guard message queues does not: %s", said[:max(n, 0)]), ended(over))
	}
	err = do()
	_ = unix.Shutdown(pair[0], unix.SHUT_WR) // it may be gone
	return errors.Join(err, ended(over))
}

// ended waits for the guard's end.
func ended(over <-chan struct{}) error {
	<-over
	return nil
}

// start starts this very program as the guard, in a session of its own. A thread of its own is
// its parent: that which traces waits for all its children.
func start(control, memory int, queues []Queue) (pid, pidfd int, over chan struct{}, err error) {
	files := []uintptr{guardControl: uintptr(control), guardMemory: uintptr(memory), guardStderr: 2}
	for _, q := range queues {
		files = append(files, uintptr(q.FD))
	}
	begun := make(chan error)
	over = make(chan struct{})
	args := []string{GuardName, strconv.Itoa(unix.Gettid()), strconv.Itoa(len(queues))}
	go func() {
		defer close(over)
		p, _, err := syscall.StartProcess("/proc/self/exe", args, &syscall.ProcAttr{Env: []string{}, Sys: &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd}, Files: files})
		pid = p
		begun <- err
		for again := err == nil; again; {
			_, err = unix.Wait4(p, nil, 0, nil)
			again = err == unix.EINTR
		}
	}()
	return pid, pidfd, over, <-begun
}

// Guard is the main function of a guard.
func Guard(args []string) int {
	_ = os.WriteFile("/proc/self/comm", []byte(GuardName), 0) // for ps(1)
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGPIPE, unix.SIGTSTP)
	if err := guard(args); err != nil {
		_, _ = unix.Write(guardControl, []byte(err.Error()))
		return 1
	}
	return 0
}

func guard(args []string) error {
	if err := errors.Join(repair.Secure(), unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)); err != nil {
		return err
	}
	if len(args) != 3 {
		return errors.New("it is not for users")
	}
	tid, err := strconv.Atoi(args[1])
	count, cerr := strconv.Atoi(args[2])
	var st unix.Stat_t
	if err := errors.Join(err, cerr, unix.Fstat(guardMemory, &st)); err != nil {
		return err
	}
	mem, err := mapMemory(guardMemory, int(st.Size))
	if err != nil {
		return err
	}
	said := make([]byte, 1)
	if n, err := unix.Read(guardControl, said); err != nil || n == 0 { // our maker has ended before it did anything
		return err
	}
	var failed error
	free, err := repair.HoldMaster(tid, func() { failed = finish(rooms(mem, guardQueues, count)) })
	if err != nil {
		return err
	}
	if _, err := unix.Write(guardControl, said); err != nil {
		free()
		return failed
	}
	for {
		// At the end of what our maker says it has done all, or is about to end.
		if n, err := unix.Read(guardControl, said); err != unix.EINTR && n <= 0 {
			break
		}
	}
	free()
	return failed
}

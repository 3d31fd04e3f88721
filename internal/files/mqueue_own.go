package files

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// OwnMQueues describes all POSIX message queues of the IPC namespace that this process is in,
// which is the tree's own, also those that nobody has open. pid is the root.
func (c *Collector) OwnMQueues(pid int) error {
	dir, err := openMQueues()
	if err != nil {
		return fmt.Errorf("look at the POSIX message queues of an IPC namespace: %w", err)
	}
	defer dir.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	c.ownMQueues = st.Dev
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if err := c.ownMQueue(pid, name); err != nil {
			return err
		}
	}
	return nil
}

// openMQueues opens the file system of the queues, which need not be mounted.
func openMQueues() (*os.File, error) {
	fs, err := unix.Fsopen("mqueue", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, os.NewSyscallError("fsconfig", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsmount", err)
	}
	defer unix.Close(fd)
	at, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("openat", err)
	}
	return os.NewFile(uintptr(at), "mqueue"), nil
}

func (c *Collector) ownMQueue(pid int, name string) error {
	f, err := sys.OpenMQueue(name, unix.O_RDONLY|unix.O_NONBLOCK, 0, nil)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	attr, err := sys.GetMQAttr(int(f.Fd()))
	if err != nil {
		return err
	}
	if attr.Messages > 0 {
		c.Block(pid, cli.WithHint(fmt.Errorf("has in its IPC namespace the POSIX message queue /%s, in which %d messages wait; they can't be saved, because only receiving them shows them", name, attr.Messages),
			"save it again when the program has received them"))
	}
	return c.Emit(record.TypeMQueue, c.newMQueue(name, &st, &attr))
}

// roomForMQueues lets this process make queues that others made under other limits. The
// kernel counts them for our user then.
func roomForMQueues() error {
	var limit unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_MSGQUEUE, nil, &limit); err != nil {
		return os.NewSyscallError("prlimit", err)
	}
	if limit.Max == unix.RLIM_INFINITY && limit.Cur == unix.RLIM_INFINITY {
		return nil
	}
	all := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	err := unix.Prlimit(0, unix.RLIMIT_MSGQUEUE, &all, nil)
	if errors.Is(err, unix.EPERM) {
		limit.Cur = limit.Max
		err = unix.Prlimit(0, unix.RLIMIT_MSGQUEUE, &limit, nil)
	}
	return os.NewSyscallError("prlimit", err)
}

package files

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/drain"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream"
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
	var all []*ownMQueue
	for _, name := range names {
		q, err := c.ownMQueue(name)
		if err != nil {
			return errors.Join(err, closeMQueues(all))
		}
		all = append(all, q)
	}
	return errors.Join(c.messages(pid, all), closeMQueues(all))
}

// ownMQueue is a queue that is described.
type ownMQueue struct {
	*record.MQueue
	f *os.File
}

func closeMQueues(all []*ownMQueue) error {
	var errs []error
	for _, q := range all {
		errs = append(errs, q.f.Close())
	}
	return errors.Join(errs...)
}

// ownMQueue describes one.
func (c *Collector) ownMQueue(name string) (*ownMQueue, error) {
	f, err := sys.OpenMQueue(name, unix.O_RDWR|unix.O_NONBLOCK, 0, nil)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, errors.Join(os.NewSyscallError("fstat", err), f.Close())
	}
	attr, err := sys.GetMQAttr(int(f.Fd()))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	q := c.newMQueue(name, &st, &attr)
	return &ownMQueue{q, f}, c.Emit(record.TypeMQueue, q)
}

// messages reads what waits in queues, and has it sent. In a dry run it is left alone. pid is
// the root.
func (c *Collector) messages(pid int, all []*ownMQueue) error {
	var queues []drain.Queue
	var of []uint64
	for _, q := range all {
		if q.Messages == 0 {
			continue
		}
		s, err := drain.ReadState(int(q.f.Fd()))
		if err != nil {
			return err
		}
		if s.Notify != 0 { // sending the first message again would do it
			c.Block(pid, cli.WithHint(fmt.Errorf("has in its IPC namespace the POSIX message queue /%s, in which %d messages wait and by which pid %d asked to be notified (mq_notify), which can't be saved", q.Name, q.Messages, s.Notify),
				"save it when the program does not wait for a message in that way"))
			return nil
		}
		queues, of = append(queues, drain.Queue{FD: int(q.f.Fd()), Messages: int(q.Messages), MaxBytes: int(q.MessageBytes), Bytes: s.Bytes}), append(of, q.ID)
	}
	if len(queues) == 0 {
		return nil
	}
	if pid, why := c.elsewhereQueue(pid, all); why != nil {
		c.Block(pid, why)
		return nil
	}
	if c.Dry {
		return nil
	}
	messages, close, err := drain.Read(queues)
	if err != nil {
		return fmt.Errorf("read the POSIX message queues of an IPC namespace: %w", err)
	}
	c.drained = close
	c.contents = append(c.contents, func(w *stream.Writer, _ func() bool) error {
		for i := range messages {
			if err := sendMessages(w, of[i], messages[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return nil
}

// elsewhereQueue looks for a process outside of the tree that has a queue open in which messages
// wait: it could send others while they are received, which can't be put back then.
func (c *Collector) elsewhereQueue(pid int, all []*ownMQueue) (int, error) {
	self, _, err := proc.Usual.Self()
	if err != nil {
		return pid, err
	}
	own, err := proc.Usual.Threads(self)
	if err != nil {
		return pid, err
	}
	who, name := 0, ""
	unseen := c.eachOutside(searchLimit, func(other, fd int, link string) {
		for _, q := range all {
			if who != 0 || q.Messages == 0 || slices.Contains(own, other) || path.Base(link) != q.Name {
				continue
			}
			var st unix.Stat_t
			if unix.Stat(proc.Usual.Path(other, fmt.Sprintf("fd/%d", fd)), &st) == nil && st.Dev == c.ownMQueues && st.Ino == q.Ino {
				who, name = other, q.Name
			}
		}
	})
	switch {
	case who != 0:
		return pid, cli.WithHint(fmt.Errorf("has in its IPC namespace the POSIX message queue /%s, in which messages wait and which %s, which is not being saved, has open, too; they can't be saved", name, proc.Usual.Named(who)), "end that first, or save it when the queue is empty")
	case unseen > 0:
		return pid, fmt.Errorf("has in its IPC namespace POSIX message queues in which messages wait, and %d processes could not be asked in %v whether they have them open, too", unseen, searchLimit)
	}
	return 0, nil
}

// sendMessages sends those of one queue, in the order in which they would be received.
func sendMessages(w *stream.Writer, id uint64, messages []drain.Message) error {
	for _, m := range messages {
		rec, err := stream.New(record.TypeMsg, &record.Msg{Prio: m.Prio, Refs: record.InodeRef{Inode: id}})
		if err != nil {
			return err
		}
		rec.DataLen = int64(len(m.Text))
		if err := w.Write(rec, bytes.NewReader(m.Text)); err != nil {
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

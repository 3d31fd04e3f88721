package files

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/object"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// mqueueKind: POSIX message queues. One with a name is opened again, with what is in it;
// where it is gone, as after a reboot, it is made anew, if it was empty. One without a name
// ends with the program, so it must be empty: only receiving shows its messages.
var mqueueKind = Kind{
	Type: record.TypeMQueue,
	Data: []record.Type{record.TypeMsg},
	Save: func(c *Collector) Saver { return Saver{Match: isMQueue, Collect: c.mqueue} },
	Restore: func(r *Restorer) Maker {
		seen := map[string]bool{}
		return Maker{Kind: object.Kind{Check: func(rec *stream.Record) []error { return r.checkMQueue(seen, rec) }, Make: r.makeMQueue}}
	},
}

const aMQueue = "the POSIX message queue "

func isMQueue(s *Subject) bool { return s.FD >= 0 && strings.HasPrefix(hidden(s), aMQueue) }

func (c *Collector) mqueue(s *Subject) (uint64, error) {
	if c.blockPath(s) {
		return 0, nil
	}
	f, err := borrow(s)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	attr, err := sys.GetMQAttr(int(f.Fd()))
	if err != nil {
		return 0, err
	}
	name, deleted := strings.CutSuffix(s.Target, deletedSuffix)
	if err := c.savableMQueue(s, f, attr.Messages, deleted); err != nil {
		c.Block(s.PID, err)
		return 0, nil
	}
	q := c.newMQueue(strings.TrimPrefix(name, "/"), &s.Stat, &attr)
	q.Deleted = deleted
	return q.ID, c.Emit(record.TypeMQueue, q)
}

func (c *Collector) newMQueue(name string, st *unix.Stat_t, attr *sys.MQAttr) *record.MQueue {
	return &record.MQueue{Object: record.Object{ID: c.NewID(), Ident: ident(record.TypeMQueue, st.Dev, st.Ino)},
		Name: name, Ino: st.Ino, Mode: st.Mode, UID: st.Uid, GID: st.Gid,
		MaxMessages: attr.MaxMessages, MessageBytes: attr.MessageBytes, Messages: attr.Messages}
}

// savableMQueue returns what stands in the way of saving a queue. Whom it notifies can be
// read from it (ipc/mqueue.c), but not with which value.
func (c *Collector) savableMQueue(s *Subject, f *os.File, messages int64, deleted bool) error {
	what := Describe(s)
	if c.ownMQueues != 0 && s.Stat.Dev != c.ownMQueues {
		return fmt.Errorf("fd %d is %s of another IPC namespace than the process is in, which can't be saved", s.FD, what)
	}
	if deleted && messages > 0 {
		return cli.WithHint(fmt.Errorf("fd %d is %s, which was deleted and in which %d messages wait; that can't be saved, because only receiving them shows them", s.FD, what, messages),
			"save it again when the program has received them")
	}
	text := make([]byte, 256)
	n, err := unix.Pread(int(f.Fd()), text, 0)
	if err == unix.EBADF { // it is open for sending only
		var r *os.File
		if r, err = open(s.Link, unix.O_RDONLY|unix.O_NONBLOCK); err == nil {
			n, err = unix.Pread(int(r.Fd()), text, 0)
			r.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("fd %d is %s, of which can't be read whom it notifies: %w", s.FD, what, err)
	}
	for _, word := range strings.Fields(string(text[:n])) {
		var pid int
		if k, _ := fmt.Sscanf(word, "NOTIFY_PID:%d", &pid); k == 1 && pid != 0 && c.InTree(pid) {
			return cli.WithHint(fmt.Errorf("fd %d is %s, by which pid %d asked to be notified (mq_notify), which can't be saved: the kernel does not tell with which value", s.FD, what, pid),
				"save it when the program does not wait for a message in that way")
		}
	}
	return nil
}

func (r *Restorer) checkMQueue(seen map[string]bool, rec *stream.Record) []error {
	q, err := decode[record.MQueue](rec)
	const longest = 255 // NAME_MAX
	switch {
	case err != nil:
	case q.Name == "" || len(q.Name) > longest || strings.ContainsAny(q.Name, "/\x00") || q.Name == "." || q.Name == "..":
		err = fmt.Errorf("%w: a message queue with the name %q", stream.ErrCorrupt, q.Name)
	case q.MaxMessages < 1 || q.MessageBytes < 1 || q.Messages < 0 || q.Messages > q.MaxMessages || q.Deleted && q.Messages > 0:
		err = fmt.Errorf("%w: a message queue with %d of %d messages of %d bytes", stream.ErrCorrupt, q.Messages, q.MaxMessages, q.MessageBytes)
	case r.OwnIPC && !q.Deleted && seen[q.Name]:
		err = fmt.Errorf("%w: the message queue /%s occurs twice", stream.ErrCorrupt, q.Name)
	case r.OwnIPC: // it is made anew
		seen[q.Name] = !q.Deleted
	case !r.Paper && !q.Deleted:
		err = r.findMQueue(q)
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

// findMQueue returns what is wrong with the queue that has the name now. None is, too, if
// messages waited.
func (r *Restorer) findMQueue(q *record.MQueue) error {
	f, err := (&mqueue{r: r, rec: q, name: q.Name}).Open(unix.O_RDONLY | unix.O_NONBLOCK)
	switch {
	case errors.Is(err, unix.ENOENT) && q.Messages > 0:
		return cli.WithHint(fmt.Errorf("the POSIX message queue /%s, in which %d messages waited, is not there", q.Name, q.Messages), "put it back, or replace each of its descriptors: --end 'pid N fd N=null'")
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EACCES): // it may be for sending only
		return nil
	case err != nil:
		return err
	}
	return f.Close()
}

// mqueue is a queue of a restart.
type mqueue struct {
	object.Base
	r    *Restorer
	rec  *record.MQueue
	name string
	made bool   // we made it
	sent int64  // messages that it was given
	ino  uint64 // with this inode number
}

func (r *Restorer) makeMQueue(rec *stream.Record) (object.Object, error) {
	m, err := decode[record.MQueue](rec)
	if err != nil {
		return nil, err
	}
	q := &mqueue{r: r, rec: m, name: m.Name}
	if m.Deleted {
		q.name = fmt.Sprintf("ckpt-%d-%d", os.Getpid(), m.Objref)
		return q, q.create()
	}
	if r.OwnIPC {
		if err := roomForMQueues(); err != nil {
			return nil, err
		}
		return q, q.create()
	}
	if f, err := q.Open(unix.O_RDONLY | unix.O_NONBLOCK); err == nil {
		return q, f.Close()
	} else if !errors.Is(err, unix.ENOENT) || m.Messages > 0 {
		return q, nil // opening it for what the program had may go well
	}
	return q, q.create()
}

// create makes the queue anew.
func (q *mqueue) create() error {
	f, err := sys.OpenMQueue(q.name, unix.O_RDONLY|unix.O_CREAT|unix.O_EXCL, 0o600, &sys.MQAttr{MaxMessages: q.rec.MaxMessages, MessageBytes: q.rec.MessageBytes})
	if err != nil {
		return fmt.Errorf("make a POSIX message queue for %d messages of %d bytes, see mq_overview(7) for the limits: %w", q.rec.MaxMessages, q.rec.MessageBytes, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return errors.Join(os.NewSyscallError("fstat", err), f.Close())
	}
	q.made, q.ino = true, st.Ino
	err = q.r.chown(f, q.rec.UID, q.rec.GID, aMQueue+"/"+q.rec.Name)
	if err == nil {
		err = os.NewSyscallError("fchmod", unix.Fchmod(int(f.Fd()), q.rec.Mode&0o777))
	}
	return errors.Join(err, f.Close())
}

// Open opens the queue: the very one that was open, and the one that we made, with our
// rights, and any other with those of the program.
func (q *mqueue) Open(flags int) (f *os.File, err error) {
	flags &= unix.O_ACCMODE | unix.O_NONBLOCK // the descriptor is close-on-exec in any case
	if f, err = sys.OpenMQueue(q.name, flags, 0, nil); err != nil {
		return nil, err
	}
	same, err := q.judge(f)
	if err == nil && same {
		return f, nil
	}
	f.Close()
	u := q.r.Users[q.rec.Objref]
	if err == nil && u == nil {
		err = fmt.Errorf("the POSIX message queue /%s is another now, and the image has no process with whose rights it could be opened", q.name)
	}
	if err == nil {
		err = q.r.become(u.identity(), "/"+q.name)
	}
	if err != nil {
		return nil, err
	}
	err = sys.AsFS(u.identity(), func() error {
		f, err = sys.OpenMQueue(q.name, flags, 0, nil)
		return err
	})
	return f, err
}

// judge returns an error if a queue is not as it was, and whether it is the very one, or
// the one that we made: its owner may have put another in its place.
func (q *mqueue) judge(f *os.File) (same bool, err error) {
	attr, err := sys.GetMQAttr(int(f.Fd()))
	if err != nil {
		return false, err
	}
	if attr.MaxMessages != q.rec.MaxMessages || attr.MessageBytes != q.rec.MessageBytes {
		return false, fmt.Errorf("the POSIX message queue /%s was for %d messages of %d bytes and is for %d of %d", q.name, q.rec.MaxMessages, q.rec.MessageBytes, attr.MaxMessages, attr.MessageBytes)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false, os.NewSyscallError("fstat", err)
	}
	if q.made {
		return st.Ino == q.ino, nil
	}
	return q.r.SameBoot && st.Ino == q.rec.Ino && st.Mode == q.rec.Mode && st.Uid == q.rec.UID && st.Gid == q.rec.GID, nil
}

// Fill sends the queue a message. Only a queue that we made, with all that it had, is given some.
func (q *mqueue) Fill(rec *stream.Record, data io.Reader) error {
	m, err := decode[record.Msg](rec)
	if err != nil {
		return err
	}
	if q.sent++; !q.made || q.sent > q.rec.Messages || m.MType != 0 || m.Prio >= maxMQPrio || rec.DataLen > q.rec.MessageBytes {
		return fmt.Errorf("%w: message %d of %d, of priority %d and %d bytes, for the message queue /%s", stream.ErrCorrupt, q.sent, q.rec.Messages, m.Prio, rec.DataLen, q.rec.Name)
	}
	text := make([]byte, rec.DataLen)
	if _, err := io.ReadFull(data, text); err != nil {
		return stream.ErrTruncated
	}
	f, err := sys.OpenMQueue(q.name, unix.O_WRONLY|unix.O_NONBLOCK, 0, nil)
	if err != nil {
		return err
	}
	return errors.Join(sys.SendMQ(int(f.Fd()), text, m.Prio), f.Close())
}

// maxMQPrio is MQ_PRIO_MAX of linux/limits.h.
const maxMQPrio = 32768

// Complete takes the name from a queue that had none. All of its descriptions are open.
func (q *mqueue) Complete() error {
	if q.r.OwnIPC && q.sent != q.rec.Messages {
		return fmt.Errorf("%w: the message queue /%s had %d messages, and %d came", stream.ErrCorrupt, q.rec.Name, q.rec.Messages, q.sent)
	}
	if !q.made || !q.rec.Deleted {
		return nil
	}
	q.made = false
	return sys.UnlinkMQueue(q.name)
}

// Undo deletes a queue that was not there.
func (q *mqueue) Undo() error {
	if !q.made {
		return nil
	}
	return sys.UnlinkMQueue(q.name)
}

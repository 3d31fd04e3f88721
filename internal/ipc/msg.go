package ipc

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// maxMsgBytes is how long a message may be. kernel.msgmax is 8192 unless somebody raises it.
const maxMsgBytes = 16 << 20

// maxMsgs is how many messages a queue may have: to look at one, the kernel goes through all
// before it.
const maxMsgs = 1 << 16

// msgQueues describes the message queues.
func (c *Collector) msgQueues() error {
	queues, err := proc.ReadSysVIPC("msg")
	if err != nil {
		return err
	}
	for _, q := range queues {
		if err := c.msgQueue(&q); err != nil {
			return fmt.Errorf("message queue %d (System V): %w", q.ID, err)
		}
	}
	return nil
}

func (c *Collector) msgQueue(q *proc.SysVIPC) error {
	ds, err := sys.MsgStat(q.ID)
	if err != nil {
		return err
	}
	rec := &record.MsgQueue{Object: c.object(record.TypeMsgQueue, q.ID), MsgID: q.ID, Key: q.Key, Mode: q.Mode & modeMask, UID: q.UID, GID: q.GID,
		Creator: record.SysVCreator{UID: q.CUID, GID: q.CGID}, MaxBytes: ds.MaxBytes, Messages: ds.Messages}
	if ds.Messages > maxMsgs {
		c.Block(fmt.Errorf("has in its IPC namespace the message queue %d (System V) with %d messages; at most %d can be saved", q.ID, ds.Messages, maxMsgs))
		return nil
	}
	if err := c.Emit(record.TypeMsgQueue, rec); err != nil {
		return err
	}
	longest, err := c.longest(q.ID, &ds)
	if err != nil || longest < 0 {
		return err
	}
	c.send = append(c.send, func(w *stream.Writer) error { return sendMessages(w, rec, longest) })
	return nil
}

// longest returns how long a message of a queue may be, or blocks one that can't be read:
// the kernel copies none that is longer than msgmax is now.
func (c *Collector) longest(id int, ds *sys.MsgDS) (int, error) {
	limit, err := proc.ReadSysctls("kernel/msgmax")
	if err != nil || len(limit) != 1 {
		return 0, errors.Join(err, proc.ErrFormat)
	}
	longest := int(min(ds.Bytes, limit[0], maxMsgBytes))
	buf := sys.MsgBuf(0, longest)
	for i := range int(ds.Messages) {
		switch _, err := sys.PeekMsg(id, i, buf); {
		case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.E2BIG):
			c.Block(cli.WithHint(fmt.Errorf("has in its IPC namespace the message queue %d (System V) with a message of more than %d bytes, which can't be read", id, longest),
				fmt.Sprintf("set kernel.msgmax in that namespace to as many bytes as it has, at most %d", maxMsgBytes)))
			return -1, nil
		case errors.Is(err, unix.ENOSYS):
			c.Block(fmt.Errorf("has in its IPC namespace the message queue %d (System V) with messages, which this kernel can't copy: CONFIG_CHECKPOINT_RESTORE is missing", id))
			return -1, nil
		case err != nil:
			return 0, err
		}
	}
	return longest, nil
}

// sendMessages sends copies of the messages, the oldest first.
func sendMessages(w *stream.Writer, q *record.MsgQueue, longest int) error {
	buf := sys.MsgBuf(0, longest)
	for i := range int(q.Messages) {
		n, err := sys.PeekMsg(q.MsgID, i, buf)
		if err != nil {
			return fmt.Errorf("message %d of queue %d (System V): %w", i, q.MsgID, err)
		}
		text := buf[:sys.MsgTypeBytes+n]
		rec, err := stream.New(record.TypeMsg, &record.Msg{MType: sys.MsgType(text), Refs: record.InodeRef{Inode: q.ID}})
		if err != nil {
			return err
		}
		if err := writeText(w, rec, text[sys.MsgTypeBytes:]); err != nil {
			return err
		}
	}
	return nil
}

// msgQueue is a queue of a restart.
type msgQueue struct {
	object.Base
	rec  *record.MsgQueue
	sent uint64
}

func msgQueueKind(r *object.Restart) object.Kind {
	seen := newIDs()
	return object.Kind{Type: record.TypeMsgQueue, Data: []record.Type{record.TypeMsg},
		Check: func(rec *stream.Record) []error {
			q, err := decode[record.MsgQueue](rec)
			if err == nil {
				err = seen.check(r, "a message queue", q.MsgID, q.Key, q.Mode)
			}
			if err == nil && (q.MaxBytes > maxID || q.Messages > maxMsgs) {
				err = fmt.Errorf("%w: message queue %d for %d bytes with %d messages", stream.ErrCorrupt, q.MsgID, q.MaxBytes, q.Messages)
			}
			if err != nil {
				return []error{err}
			}
			return nil
		},
		Make: func(rec *stream.Record) (object.Object, error) { return makeMsgQueue(r, rec) },
	}
}

func makeMsgQueue(r *object.Restart, rec *stream.Record) (object.Object, error) {
	q, err := decode[record.MsgQueue](rec)
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("the message queue %d (System V)", q.MsgID)
	err = makeAs(r, "msg", what, q.MsgID, q.Creator, func() (int, error) {
		return sys.MsgGet(q.Key, unix.IPC_CREAT|unix.IPC_EXCL|int(q.Mode))
	})
	if err != nil {
		return nil, err
	}
	return &msgQueue{rec: q}, nil
}

// Fill sends it a message.
func (q *msgQueue) Fill(rec *stream.Record, data io.Reader) error {
	m, err := decode[record.Msg](rec)
	if err != nil {
		return err
	}
	if q.sent++; q.sent > q.rec.Messages || m.MType < 1 || m.Prio != 0 || rec.DataLen > maxMsgBytes {
		return fmt.Errorf("%w: message %d of %d, of type %d and %d bytes", stream.ErrCorrupt, q.sent, q.rec.Messages, m.MType, rec.DataLen)
	}
	buf := sys.MsgBuf(m.MType, int(rec.DataLen))
	if _, err := io.ReadFull(data, buf[sys.MsgTypeBytes:]); err != nil {
		return stream.ErrTruncated
	}
	return fmtErr(sys.SendMsg(q.rec.MsgID, buf), fmt.Sprintf("message %d of queue %d (System V)", q.sent, q.rec.MsgID))
}

// Complete gives it its room.
func (q *msgQueue) Complete() error {
	if q.sent != q.rec.Messages {
		return fmt.Errorf("%w: message queue %d has %d messages, and %d came", stream.ErrCorrupt, q.rec.MsgID, q.rec.Messages, q.sent)
	}
	return fmtErr(sys.SetMsg(q.rec.MsgID, q.rec.UID, q.rec.GID, q.rec.Mode, q.rec.MaxBytes), fmt.Sprintf("the message queue %d (System V)", q.rec.MsgID))
}

// Undo removes it.
func (q *msgQueue) Undo() error { return gone(sys.RemoveMsg(q.rec.MsgID)) }

func fmtErr(err error, what string) error {
	if err != nil {
		return fmt.Errorf("restore %s: %w", what, err)
	}
	return nil
}

// Package drain reads the messages that wait in POSIX message queues: only receiving them shows
// them, so all are received and sent again, in their order, while everybody who uses the queues
// stands still.
//
// Whoever does that may be killed at any moment, and no message may be lost then. So they are
// received into memory that a second process, the guard, has, too. It traces the thread that
// traces the target: should that be killed, it stops before it ends, and the target stands still
// until the guard has done the rest. Wherever the first stopped, what is in the memory and in the
// queue tells what is left to be done. If the guard is killed, the first goes on alone. Both must
// be killed within the same instant for a message to be lost.
package drain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/sys"
)

// Queue is a queue with messages, open for both without waiting.
type Queue struct {
	FD       int
	Messages int    // how many wait
	MaxBytes int    // how long one may be
	Bytes    uint64 // how long all are that wait
}

// Message is one that was read.
type Message struct {
	Prio uint32
	Text []byte // in memory that is there until Close
}

// Phases of a queue.
const (
	receiving = iota
	sending
	done
)

const (
	none       = ^uint32(0) // what nobody has written yet
	queueBytes = 24         // of what tells of a queue, at the beginning of the memory
	entryBytes = 8          // of what tells of a message: its priority and its length
	phaseBytes = 8          // of what comes before the first of them
)

// memoryBytes is how much memory the messages of queues need.
func memoryBytes(queues []Queue) int {
	n := len(queues) * queueBytes
	for _, q := range queues {
		n += q.roomBytes()
	}
	return (n + abi.PageBytes - 1) &^ (abi.PageBytes - 1)
}

// roomBytes: the last message needs room for any.
func (q *Queue) roomBytes() int {
	return (phaseBytes + q.Messages*entryBytes + int(q.Bytes) + q.MaxBytes + 7) &^ 7
}

// room is the memory for one queue.
type room struct {
	Queue
	mem []byte
}

// rooms divides the memory. A guard reads from it what the queues are; it has their
// descriptors in their order, from first on.
func rooms(mem []byte, first, count int) (all []*room) {
	at := count * queueBytes
	for i := range count {
		b := mem[i*queueBytes:]
		r := &room{Queue: Queue{FD: first + i, Messages: int(binary.NativeEndian.Uint32(b)), MaxBytes: int(binary.NativeEndian.Uint32(b[4:])), Bytes: binary.NativeEndian.Uint64(b[8:])}}
		r.mem = mem[at : at+r.roomBytes()]
		at += r.roomBytes()
		all = append(all, r)
	}
	return all
}

// prepare writes what the queues are, and that nothing is done yet.
func prepare(mem []byte, queues []Queue) []*room {
	for i, q := range queues {
		b := mem[i*queueBytes:]
		binary.NativeEndian.PutUint32(b, uint32(q.Messages))
		binary.NativeEndian.PutUint32(b[4:], uint32(q.MaxBytes))
		binary.NativeEndian.PutUint64(b[8:], q.Bytes)
	}
	all := rooms(mem, 0, len(queues))
	for i, r := range all {
		r.FD = queues[i].FD
		for j := range r.Messages {
			*r.prio(j), *r.length(j) = none, none
		}
	}
	return all
}

func (r *room) phase() *uint32       { return sys.Word(r.mem) }
func (r *room) prio(i int) *uint32   { return sys.Word(r.mem[phaseBytes+i*entryBytes:]) }
func (r *room) length(i int) *uint32 { return sys.Word(r.mem[phaseBytes+i*entryBytes+4:]) }
func (r *room) texts() []byte        { return r.mem[phaseBytes+r.Messages*entryBytes:] }

// between is called between two messages; a test takes its time there.
var between = func() {}

// run does what is left to be done.
func (r *room) run() error {
	if *r.phase() == receiving {
		if err := r.receive(); err != nil {
			return err
		}
		*r.phase() = sending
	}
	if *r.phase() == sending {
		if err := r.send(); err != nil {
			return err
		}
		*r.phase() = done
	}
	return nil
}

// receive receives the messages that nobody has.
func (r *room) receive() error {
	at := 0
	for i := range r.Messages {
		switch {
		case *r.prio(i) == none:
			n, err := sys.ReceiveMQ(r.FD, r.texts()[at:at+r.MaxBytes], r.prio(i))
			if err != nil {
				return fmt.Errorf("message %d of %d: %w", i+1, r.Messages, err)
			}
			*r.length(i) = uint32(n)
		case *r.length(i) == none: // who has received it was killed before it wrote that
			left, err := waitingBytes(r.FD)
			if err != nil {
				return err
			}
			*r.length(i) = uint32(r.Bytes - uint64(at) - left)
		}
		at += int(*r.length(i))
		between()
	}
	return nil
}

// send sends those that are not in the queue. It was empty before, so they are the last.
func (r *room) send() error {
	attr, err := sys.GetMQAttr(r.FD)
	if err != nil {
		return err
	}
	for i, m := range r.messages() {
		if i < int(attr.Messages) {
			continue
		}
		if err := sys.SendMQ(r.FD, m.Text, m.Prio); err != nil {
			return fmt.Errorf("message %d of %d can't be put back: %w", i+1, r.Messages, err)
		}
		between()
	}
	return nil
}

func (r *room) messages() []Message {
	all, at := make([]Message, r.Messages), uint32(0)
	for i := range all {
		end := at + *r.length(i)
		all[i] = Message{*r.prio(i), r.texts()[at:end]}
		at = end
	}
	return all
}

// State is what reading a queue tells of it, see mq_overview(7).
type State struct {
	Bytes  uint64 // of all messages that wait
	Notify int    // the process that is to be notified, 0 for none
}

// ReadState reads it.
func ReadState(fd int) (s State, err error) {
	text := make([]byte, 256)
	n, err := unix.Pread(fd, text, 0)
	if err != nil {
		return s, os.NewSyscallError("pread", err)
	}
	for word := range strings.FieldsSeq(string(text[:n])) {
		_, _ = fmt.Sscanf(word, "NOTIFY_PID:%d", &s.Notify)
	}
	if _, err := fmt.Sscanf(string(text[:n]), "QSIZE:%d", &s.Bytes); err != nil {
		return s, fmt.Errorf("what is read of a POSIX message queue is %q", text[:n])
	}
	return s, nil
}

func waitingBytes(fd int) (uint64, error) {
	s, err := ReadState(fd)
	return s.Bytes, err
}

// finish does what is left to be done of all queues.
func finish(all []*room) error {
	var errs []error
	for _, r := range all {
		errs = append(errs, r.run())
	}
	return errors.Join(errs...)
}

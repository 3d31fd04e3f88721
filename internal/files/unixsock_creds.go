package files

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// The kernel tells who sent a message only on sockets with SO_PASSCRED or
// SO_PASSPIDFD, and only if that was set before the message was sent.

// noSender is what the kernel returns for a message without a sender.
var noSender = record.SockCreds{UID: 65534, GID: 65534}

// sender returns who sent a message, according to its control messages.
func sender(control []byte) record.SockCreds {
	from := noSender
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return from
	}
	for i := range messages {
		m := &messages[i]
		switch {
		case m.Header.Level != unix.SOL_SOCKET:
		case m.Header.Type == unix.SCM_CREDENTIALS:
			if c, err := unix.ParseUnixCredentials(m); err == nil {
				from.PID, from.UID, from.GID = int(c.Pid), c.Uid, c.Gid
			}
		case m.Header.Type == scmPIDFD && len(m.Data) >= 4 && from.PID == 0:
			fd := int(int32(binary.NativeEndian.Uint32(m.Data)))
			from.PID = pidOf(fd)
		}
	}
	return from
}

// pidOf returns the process id behind a pidfd of ours, or 0.
func pidOf(fd int) int {
	info, err := proc.ReadFDInfo(os.Getpid(), fd)
	if err != nil {
		return 0
	}
	value, _ := info.Get("Pid")
	pid, err := strconv.Atoi(value)
	if err != nil {
		return 0
	}
	return max(pid, 0)
}

// sentBy notes who sent the next message, or the next n bytes of a stream.
func (q *queue) sentBy(from record.SockCreds, n int64) {
	from.Count = 1
	if q.messages == nil {
		from.Count = n
	}
	if k := len(q.creds); k > 0 && sameSender(q.creds[k-1], from) {
		q.creds[k-1].Count += from.Count
		return
	}
	q.creds = append(q.creds, from)
}

func sameSender(a, b record.SockCreds) bool {
	return a.PID == b.PID && a.UID == b.UID && a.GID == b.GID
}

// nextSenders takes the senders of the next n messages or bytes out of runs. It
// returns nil if none of them is named.
func nextSenders(runs *[]record.SockCreds, n int64) []record.SockCreds {
	return nextRuns(runs, n, func(r *record.SockCreds) (*int64, bool) { return &r.Count, r.PID != 0 })
}

// sentFrom notes the address that the next message was sent from.
func (q *queue) sentFrom(name []byte) {
	if k := len(q.names); k > 0 && bytes.Equal(q.names[k-1].Name, name) {
		q.names[k-1].Count++
		return
	}
	q.names = append(q.names, record.SockSender{Count: 1, Name: name})
}

// nextNames takes the addresses of the next n messages out of runs. It returns nil if
// none has one.
func nextNames(runs *[]record.SockSender, n int64) []record.SockSender {
	return nextRuns(runs, n, func(r *record.SockSender) (*int64, bool) { return &r.Count, len(r.Name) > 0 })
}

// nextRuns takes what belongs to the next n out of runs, and returns nil if none of it is
// named. of returns how many a run is for, and whether it is named.
func nextRuns[T any](runs *[]T, n int64, of func(*T) (count *int64, named bool)) (next []T) {
	any := false
	for ; n > 0 && len(*runs) > 0; *runs = (*runs)[1:] {
		r := (*runs)[0]
		count, named := of(&r)
		any = any || named
		if *count > n {
			left, _ := of(&(*runs)[0])
			*left -= n
			*count = n
			next = append(next, r)
			break
		}
		next = append(next, r)
		n -= *count
	}
	if !any {
		return nil
	}
	return next
}

// errHidden: among the messages are empty ones that somebody has peeked at before.
var errHidden = errors.New("an empty message whose place the kernel does not show")

// countHidden adds the empty messages that the kernel did not show, because it
// shows each only once. How many there are follows from the memory that the
// messages of the other end take. Where they are in the queue is not known, unless
// there are no other messages, or it is one, and the first.
func (p *peeker) countHidden(d *sys.UnixSocket, table *sys.UnixTable) error {
	if d.Peer == 0 || p.counted || d.Type == unix.SOCK_DGRAM && d.Name != nil {
		return nil // others may have sent some, too
	}
	other, err := table.Query(d.Peer)
	if err != nil || other.Peer != d.Ino {
		return err
	}
	scale, err := newScale(d.Type)
	if err != nil {
		return err
	}
	defer scale.close()
	rest := int64(other.SendMem)
	for _, n := range p.messages {
		w, err := scale.weigh(int(n))
		if err != nil {
			return err
		}
		rest -= w
	}
	unit, err := scale.weigh(0)
	switch {
	case err != nil:
		return err
	case unit <= 0 || rest <= 0 || rest%unit != 0:
		return nil
	case len(p.data) > 0:
		return p.findHidden(rest / unit)
	}
	for range rest / unit {
		p.messages = append(p.messages, 0)
	}
	return nil
}

// findHidden adds the empty message that is hidden if it is the first in the queue: that
// one is shown, whatever was looked at, where no place to look from is set.
func (p *peeker) findHidden(hidden int64) error {
	if off, err := unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF); err != nil || off >= 0 || hidden != 1 || p.messages[0] == 0 {
		return errHidden
	}
	n, err := p.look()
	closeAll(p.fds)
	p.fds = nil
	if err != nil || n != 0 {
		return errHidden
	}
	p.from.Count = 1
	p.messages = append([]int64{0}, p.messages...)
	p.creds = append([]record.SockCreds{p.from}, p.creds...)
	p.names = append([]record.SockSender{{Count: 1, Name: p.name}}, p.names...)
	for i := range p.rights {
		p.rights[i].at++
	}
	return nil
}

// scale measures how much memory messages take while they wait.
type scale struct {
	fds   [2]int
	known map[int]int64
}

func newScale(kind int) (*scale, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	_ = unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, fillBuf) // sending will fail if it was needed
	return &scale{fds, map[int]int64{}}, nil
}

func (s *scale) close() {
	unix.Close(s.fds[0])
	unix.Close(s.fds[1])
}

func (s *scale) weigh(n int) (int64, error) {
	if w, ok := s.known[n]; ok {
		return w, nil
	}
	if err := sendAll(s.fds[0], make([]byte, n), false); err != nil {
		return 0, fmt.Errorf("weigh a message of %d bytes: %w", n, err)
	}
	w, err := unix.IoctlGetInt(s.fds[0], unix.SIOCOUTQ) // the same number as UnixSocket.SendMem of sock_diag(7)
	if err != nil {
		return 0, os.NewSyscallError("ioctl", err)
	}
	if _, _, err := unix.Recvfrom(s.fds[1], make([]byte, n), unix.MSG_WAITALL); err != nil {
		return 0, os.NewSyscallError("recvfrom", err)
	}
	s.known[n] = int64(w)
	return s.known[n], nil
}

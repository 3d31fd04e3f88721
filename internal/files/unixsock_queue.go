package files

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// errInFlight: descriptors wait in a socket.
var errInFlight = errors.New("descriptors in flight")

const (
	scmPIDFD     = 4    // SCM_PIDFD of include/linux/socket.h
	controlBytes = 4096 // more than SCM_MAX_FD descriptors and all other control messages take
)

// queue is what waits in a socket.
type queue struct {
	data     []byte
	messages []int64 // their lengths; nil for a stream
	creds    []record.SockCreds
	names    []record.SockSender // the addresses they were sent from
	rights   []rights
}

// rights are descriptors in flight with a message, or some bytes.
type rights struct {
	at, n int64 // see record.SockRights
	fds   []int // ours
}

func (q *queue) empty() bool { return len(q.data) == 0 && len(q.messages) == 0 }

// peekQueue reads what waits in a socket without taking it out. One look is enough
// for most streams; if it is not, SO_PEEK_OFF is moved behind what was seen. That
// is part of the socket's state and is set back whatever happens: guard arranges
// for that in case we are killed. If guard returns nil, the queue is not looked at.
//
// The kernel shows an empty message only once, see countHidden.
func peekQueue(fd int, d *sys.UnixSocket, table *sys.UnixTable, guard func(off int) (over func() error, err error)) (*queue, error) {
	p := &peeker{fd: fd, stream: d.Type == unix.SOCK_STREAM, datagram: d.Type == unix.SOCK_DGRAM, total: int(d.Queued)}
	// At the end of its queue a stream returns its pending error, and a
	// SOCK_SEQPACKET that was shut down returns empty messages forever.
	p.counted = p.stream || d.Type == unix.SOCK_SEQPACKET && d.Shutdown&shutRead != 0
	if p.counted && p.total == 0 {
		return p.seen(), nil
	}
	waiting := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if err := pollNow(waiting); err != nil || waiting[0].Revents&unix.POLLIN == 0 {
		return p.seen(), err
	}
	old, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	if p.stream && old < 0 {
		p.buf = make([]byte, p.total+1) // no larger, for there may be thousands of sockets
		n, err := p.look()
		if err != nil {
			return nil, peekError(err)
		}
		if n == p.total {
			p.add(n)
			return p.seen(), p.borders(d, table)
		}
		closeAll(p.fds)
	}
	over, err := guard(old)
	if err != nil || over == nil {
		return &p.queue, err
	}
	p.buf = make([]byte, max(p.total, 1<<16))
	err = errors.Join(p.walk(), os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF, old)), over())
	if err == nil {
		err = errors.Join(p.countHidden(d, table), p.borders(d, table))
	}
	return p.seen(), err
}

type peeker struct {
	queue
	fd       int
	stream   bool
	datagram bool
	total    int  // bytes there are, of a stream or SOCK_SEQPACKET
	counted  bool // stop at total
	buf      []byte
	from     record.SockCreds // who sent what the last look returned
	name     []byte           // and from which address
	fds      []int            // what came with it
}

// seen returns the queue without the buffer it was read into: it is kept until it
// is sent.
func (p *peeker) seen() *queue {
	q := p.queue
	return &q
}

// walk looks at one part after the other.
func (p *peeker) walk() error {
	if err := p.seek(); err != nil {
		return err
	}
	for !p.counted || len(p.data) < p.total {
		n, err := p.look()
		if err == unix.EAGAIN || err == nil && n == 0 && p.stream {
			return nil
		}
		if err != nil {
			return peekError(err)
		}
		if n > len(p.buf) { // cut off: look again with a larger buffer
			closeAll(p.fds)
			p.buf = make([]byte, n)
			if err := p.seek(); err != nil {
				return err
			}
			continue
		}
		p.add(n)
	}
	return nil
}

func (p *peeker) add(n int) {
	if len(p.fds) > 0 {
		at := rights{at: int64(len(p.data)), n: int64(n), fds: p.fds}
		if !p.stream {
			at.at, at.n = int64(len(p.messages)), 0
		}
		p.rights = append(p.rights, at)
		p.fds = nil
	}
	p.data = append(p.data, p.buf[:n]...)
	if !p.stream {
		p.messages = append(p.messages, int64(n))
		p.sentFrom(p.name)
	}
	p.sentBy(p.from, int64(n))
}

// seek makes the next look begin behind what was added.
func (p *peeker) seek() error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF, len(p.data)))
}

// look peeks at what comes next and returns its length; for a message that is the
// whole length even if buf is shorter. Descriptors that come along are in fds.
func (p *peeker) look() (int, error) {
	flags := unix.MSG_PEEK | unix.MSG_DONTWAIT | unix.MSG_CMSG_CLOEXEC
	if !p.stream {
		flags |= unix.MSG_TRUNC
	}
	control := make([]byte, controlBytes)
	for {
		n, cn, got, name, err := sys.RecvUnix(p.fd, p.buf, control, flags)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		p.from, p.name = sender(control[:cn]), nil
		if p.datagram {
			p.name = name
		}
		if p.fds = received(control[:cn]); got&unix.MSG_CTRUNC != 0 {
			closeAll(p.fds)
			return 0, errInFlight
		}
		return n, nil
	}
}

// received returns the descriptors that the sender has sent along; a pidfd is added by
// the kernel (SO_PASSPIDFD), and closed.
func received(control []byte) (all []int) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for i := range messages {
		m := &messages[i]
		switch {
		case m.Header.Level != unix.SOL_SOCKET:
		case m.Header.Type == unix.SCM_RIGHTS:
			fds, _ := unix.ParseUnixRights(m)
			all = append(all, fds...)
		case m.Header.Type == scmPIDFD && len(m.Data) >= 4:
			if fd := int32(binary.NativeEndian.Uint32(m.Data)); fd >= 0 {
				unix.Close(int(fd))
			}
		}
	}
	return all
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

func peekError(err error) error {
	if errors.Is(err, errInFlight) {
		return err
	}
	return fmt.Errorf("look at what waits in a socket: %w", err)
}

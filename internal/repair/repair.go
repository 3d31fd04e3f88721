// Package repair reads TCP connections so that they can go on elsewhere, and makes them
// again: by TCP_REPAIR of linux/tcp.h, under which the calls of a socket change what it is
// and send nothing. It takes CAP_NET_ADMIN.
//
// A socket in repair still acknowledges what arrives. So the packets of its connection must
// be held (package nft) from before it is read or made until it is out of repair.
//
// A program can't take its own socket out of repair. If we are killed between the calls that
// read one, somebody must, and that is the guard: a process that has the same sockets, see
// guard.go.
package repair

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// Queues of TCP_REPAIR_QUEUE.
const (
	NoQueue = iota
	RecvQueue
	SendQueue
)

// On puts a socket into repair.
func On(fd int) error {
	return set(fd, unix.SOL_TCP, unix.TCP_REPAIR, unix.TCP_REPAIR_ON, "TCP_REPAIR")
}

// Off takes it out, without a packet. That also clears SO_REUSEADDR, so that is set to what
// it was.
func Off(fd, reuse int) error {
	return errors.Join(set(fd, unix.SOL_TCP, unix.TCP_REPAIR, unix.TCP_REPAIR_OFF_NO_WP, "TCP_REPAIR"),
		set(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, reuse, "SO_REUSEADDR"))
}

// Probe asks the other side for its window, and tells it ours. The socket is not in repair.
func Probe(fd, reuse int) error {
	return errors.Join(On(fd), set(fd, unix.SOL_TCP, unix.TCP_REPAIR, unix.TCP_REPAIR_OFF, "TCP_REPAIR"),
		set(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, reuse, "SO_REUSEADDR"))
}

// Is reports whether a socket is in repair.
func Is(fd int) bool {
	on, err := unix.GetsockoptInt(fd, unix.SOL_TCP, unix.TCP_REPAIR)
	return err == nil && on == unix.TCP_REPAIR_ON
}

func set(fd, level, name, value int, text string) error {
	if err := unix.SetsockoptInt(fd, level, name, value); err != nil {
		return fmt.Errorf("%s %d: %w", text, value, err)
	}
	return nil
}

func get(fd, level, name int, text string) (int, error) {
	n, err := unix.GetsockoptInt(fd, level, name)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", text, err)
	}
	return n, nil
}

// Snapshot is all that is read of a connection.
type Snapshot struct {
	record.TCPRepair
	State int    // as TCP_INFO tells
	Recv  []byte // what the program has yet to read
	Send  []byte // what it wrote and nobody has acknowledged
}

// Read reads a connection that is in repair, and whose packets are held. One may have been
// on its way in when that began, so it is looked at until nothing changes.
func Read(fd int) (*Snapshot, error) {
	const tries = 10
	for range tries {
		s, steady, err := read(fd)
		if err != nil || steady {
			return s, err
		}
	}
	return nil, errors.New("packets arrive although they are held")
}

func read(fd int) (s *Snapshot, steady bool, err error) {
	before, err := look(fd)
	if err != nil {
		return nil, false, err
	}
	s = &Snapshot{}
	if s.Recv, err = peek(fd, RecvQueue, before.recv); err != nil {
		return nil, false, err
	}
	if s.Send, err = peek(fd, SendQueue, before.sent()); err != nil {
		return nil, false, err
	}
	if err := s.fixed(fd); err != nil {
		return nil, false, err
	}
	after, err := look(fd)
	if err != nil || after != before {
		return nil, false, err
	}
	if len(s.Recv) != before.recv || len(s.Send) != before.sent() {
		return nil, false, fmt.Errorf("%d of %d bytes received and %d of %d sent can be seen", len(s.Recv), before.recv, len(s.Send), before.sent())
	}
	s.State, s.SendNext, s.RecvNext = before.state, before.sendNext, before.recvNext
	s.Received, s.Unsent = int64(before.recv), int64(before.unsent())
	s.Sent = int64(len(s.Send)) - s.Unsent
	w := before.window
	s.SendWL1, s.SendWnd, s.MaxWindow, s.RecvWnd, s.RecvWup = w[0], w[1], w[2], w[3], w[4]
	return s, true, nil
}

// moving is what packets would change.
type moving struct {
	state              int
	sendNext, recvNext uint32
	recv, out, notSent int // bytes, a FIN being one of those to be sent
	window             [5]uint32
}

// Ended reports whether, in a state, the program has said that it sends no more.
func Ended(state int) bool {
	switch state {
	case sys.TCPFinWait1, sys.TCPFinWait2, sys.TCPClosing, sys.TCPLastAck:
		return true
	}
	return false
}

// fin is 1 if a FIN waits to be acknowledged.
func (m *moving) fin() int {
	if Ended(m.state) && m.out > 0 {
		return 1
	}
	return 0
}

func (m *moving) sent() int { return m.out - m.fin() }

// unsent is how many bytes were never sent; a FIN is behind all of them.
func (m *moving) unsent() int { return max(m.notSent-m.fin(), 0) }

func look(fd int) (m moving, err error) {
	var info [8]byte
	if _, err = sys.Getsockopt(fd, unix.SOL_TCP, unix.TCP_INFO, info[:]); err != nil {
		return m, os.NewSyscallError("getsockopt", err)
	}
	m.state = int(info[0])
	for _, q := range []struct {
		queue int
		next  *uint32
	}{{SendQueue, &m.sendNext}, {RecvQueue, &m.recvNext}} {
		if err := set(fd, unix.SOL_TCP, unix.TCP_REPAIR_QUEUE, q.queue, "TCP_REPAIR_QUEUE"); err != nil {
			return m, err
		}
		n, err := get(fd, unix.SOL_TCP, unix.TCP_QUEUE_SEQ, "TCP_QUEUE_SEQ")
		if err != nil {
			return m, err
		}
		*q.next = uint32(n)
	}
	for _, q := range []struct {
		ioctl int
		n     *int
	}{{unix.SIOCINQ, &m.recv}, {unix.SIOCOUTQ, &m.out}, {siocOutQNSD, &m.notSent}} {
		if *q.n, err = unix.IoctlGetInt(fd, uint(q.ioctl)); err != nil {
			return m, os.NewSyscallError("ioctl", err)
		}
	}
	var window [20]byte
	if _, err = sys.Getsockopt(fd, unix.SOL_TCP, unix.TCP_REPAIR_WINDOW, window[:]); err != nil {
		return m, fmt.Errorf("TCP_REPAIR_WINDOW: %w", err)
	}
	for i := range m.window {
		m.window[i] = binary.NativeEndian.Uint32(window[4*i:])
	}
	return m, nil
}

const siocOutQNSD = 0x894b // SIOCOUTQNSD of linux/sockios.h

// peek reads n bytes of a queue and leaves them there.
func peek(fd, queue, n int) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	if err := set(fd, unix.SOL_TCP, unix.TCP_REPAIR_QUEUE, queue, "TCP_REPAIR_QUEUE"); err != nil {
		return nil, err
	}
	b := make([]byte, n)
	for {
		n, _, err := unix.Recvfrom(fd, b, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		return b[:n], nil
	}
}

// From linux/tcp.h: tcpi_options of struct tcp_info.
const (
	infoOptions   = 5 // where they are
	infoScales    = 6 // tcpi_snd_wscale and tcpi_rcv_wscale
	optTimestamps = 1
	optSACK       = 2
	optScale      = 4
)

// fixed reads what was agreed when it was connected.
func (s *Snapshot) fixed(fd int) error {
	var info [8]byte
	if _, err := sys.Getsockopt(fd, unix.SOL_TCP, unix.TCP_INFO, info[:]); err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	options := info[infoOptions]
	s.Stamps, s.SACK = options&optTimestamps != 0, options&optSACK != 0
	if options&optScale != 0 {
		s.SendScale, s.RecvScale = int(info[infoScales]&15), int(info[infoScales]>>4)
	}
	var errs [4]error
	s.MSS, errs[0] = get(fd, unix.SOL_TCP, unix.TCP_MAXSEG, "TCP_MAXSEG") // in repair, that which the other side told
	s.SendBuf, errs[1] = get(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, "SO_SNDBUF")
	s.RecvBuf, errs[2] = get(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, "SO_RCVBUF")
	if s.Stamps {
		var n int
		n, errs[3] = get(fd, unix.SOL_TCP, unix.TCP_TIMESTAMP, "TCP_TIMESTAMP")
		s.Stamp = int(uint32(n))
	}
	return errors.Join(errs[:]...)
}

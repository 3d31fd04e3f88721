// Package repair reads TCP connections so that they can go on elsewhere, and makes them
// again: by TCP_REPAIR of linux/tcp.h, under which the calls of a socket change what it is
// and send nothing. It takes CAP_NET_ADMIN.
//
// A socket in repair still acknowledges what arrives. So the packets of its connection must
// be held (package nft) from before it is read or made until it is out of repair.
//
// What takes a privilege is to begin and to end the repair. In between, whoever has the
// socket, too, can do what else takes CAP_NET_ADMIN: bind it to a port that another program
// has (SK_FORCE_REUSE), or connect it without asking the other side. So a program's socket is
// in repair for some microseconds only, in which the program stands still and can't use it;
// the port is guarded from the next call on; and a new socket is out of repair before anybody
// else gets it.
//
// A program can't take its own socket out of repair. So a process that does nothing else, the
// guard, puts it in and takes it out in one go, whoever dies meanwhile, see guard.go.
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

// on puts a socket into repair. It may be bound to any port from now on.
func on(fd int) error {
	return set(fd, unix.SOL_TCP, unix.TCP_REPAIR, unix.TCP_REPAIR_ON, "TCP_REPAIR")
}

// onlyFree has a socket in repair bound to no more ports than others are.
func onlyFree(fd int) error {
	return set(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0, "SO_REUSEADDR")
}

// Off takes it out, without a packet. That also clears SO_REUSEADDR, so that is set to what
// it was.
func Off(fd, reuse int) error {
	return errors.Join(set(fd, unix.SOL_TCP, unix.TCP_REPAIR, unix.TCP_REPAIR_OFF_NO_WP, "TCP_REPAIR"),
		set(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, reuse, "SO_REUSEADDR"))
}

// Is reports whether a socket is in repair.
func Is(fd int) bool {
	on, err := unix.GetsockoptInt(fd, unix.SOL_TCP, unix.TCP_REPAIR)
	return err == nil && on == unix.TCP_REPAIR_ON
}

func set(fd, level, name, value int, text string) error {
	if err := sys.Setsockopt(fd, level, name, binary.NativeEndian.AppendUint32(nil, uint32(value))); err != nil {
		return fmt.Errorf("%s %d: %w", text, value, err)
	}
	return nil
}

func get(fd, level, name int, text string) (int, error) {
	n, err := sys.GetsockoptInt(fd, level, name)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", text, err)
	}
	return n, nil
}

// Snapshot is all that is read of a connection.
type Snapshot struct {
	record.TCPRepair
	State int    // as TCP_INFO tells
	Recv  []byte `json:"-"` // what the program has yet to read
	Send  []byte `json:"-"` // what it wrote and nobody has acknowledged
}

// errChanged: a socket is not what it was an instant before.
var errChanged = errors.New("another process has the socket, too, and changed it meanwhile")

// take reads a connection but for what the program has yet to read. Its packets are held.
// One may have been on its way in when that began, so it is read until nothing changes.
func take(fd int) (*Snapshot, error) {
	const tries = 10
	for range tries {
		s, steady, err := takeOnce(fd)
		if err != nil || steady {
			return s, err
		}
	}
	return nil, errors.New("packets arrive although they are held")
}

// takeOnce does as little as possible while the socket is in repair.
func takeOnce(fd int) (s *Snapshot, steady bool, err error) {
	s = &Snapshot{}
	flow, err := flowOf(fd)
	if err == nil {
		err = s.fixed(fd)
	}
	if err != nil {
		return nil, false, err
	}
	reuse, err := get(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, "SO_REUSEADDR")
	if err != nil {
		return nil, false, err
	}
	out, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return nil, false, os.NewSyscallError("ioctl", err)
	}
	s.Send = make([]byte, out)
	if err := on(fd); err != nil {
		return nil, false, err
	}
	err = onlyFree(fd)
	if now, ferr := flowOf(fd); err == nil && (ferr != nil || now != flow) {
		err = errors.Join(errChanged, unix.Shutdown(fd, unix.SHUT_RDWR)) // whatever it was made
	}
	if err == nil {
		steady, err = s.inRepair(fd)
	}
	return s, steady, errors.Join(err, Off(fd, reuse))
}

// inRepair reads what can only be read in repair. There is room for what waits to be sent.
func (s *Snapshot) inRepair(fd int) (steady bool, err error) {
	before, err := look(fd)
	if err != nil || before.sent() > len(s.Send) {
		return false, err
	}
	if s.Send = s.Send[:before.sent()]; len(s.Send) > 0 {
		if err := set(fd, unix.SOL_TCP, unix.TCP_REPAIR_QUEUE, SendQueue, "TCP_REPAIR_QUEUE"); err != nil {
			return false, err
		}
		if err := peek(fd, s.Send); err != nil {
			return false, err
		}
	}
	// In repair, that which the other side told.
	if s.MSS, err = get(fd, unix.SOL_TCP, unix.TCP_MAXSEG, "TCP_MAXSEG"); err != nil {
		return false, err
	}
	after, err := look(fd)
	if err != nil || after != before {
		return false, err
	}
	s.State, s.SendNext, s.RecvNext = before.state, before.sendNext, before.recvNext
	s.Received, s.Unsent = int64(before.recv), int64(before.unsent())
	s.Sent = int64(len(s.Send)) - s.Unsent
	w := before.window
	s.SendWL1, s.SendWnd, s.MaxWindow, s.RecvWnd, s.RecvWup = w[0], w[1], w[2], w[3], w[4]
	return true, nil
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

// peek fills b from a queue and leaves that as it is. Out of repair it is that of what the
// program has yet to read.
func peek(fd int, b []byte) error {
	for {
		n, _, err := unix.Recvfrom(fd, b, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return os.NewSyscallError("recvfrom", err)
		case n != len(b):
			return fmt.Errorf("%d of %d bytes can be seen", n, len(b))
		}
		return nil
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
	s.Clamp, errs[0] = get(fd, unix.SOL_TCP, unix.TCP_WINDOW_CLAMP, "TCP_WINDOW_CLAMP")
	s.SendBuf, errs[1] = get(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, "SO_SNDBUF")
	s.RecvBuf, errs[2] = get(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, "SO_RCVBUF")
	if s.Stamps {
		var n int
		n, errs[3] = get(fd, unix.SOL_TCP, unix.TCP_TIMESTAMP, "TCP_TIMESTAMP")
		s.Stamp = int(uint32(n))
	}
	return errors.Join(errs[:]...)
}

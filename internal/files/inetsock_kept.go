package files

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/cli"
	"ckpt/internal/ends"
	"ckpt/internal/nft"
	"ckpt/internal/proc"
	"ckpt/internal/repair"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// A connection that was kept is made in repair, and out of it before a task gets the socket:
// whoever has it then could do more than he may, see package repair. Its packets are held, also
// if those that ckpt-collect had held are no longer, see package nft. Closed before they are let
// through, it ends at once (SO_LINGER), of which nothing leaves this system, and it can be made
// again. They are let through when our death would not end the tasks any more.

// kept are the connections of a restart that go on.
type kept struct {
	image   map[nft.Flow]bool // of the image: those that could go on
	undone  bool              // the restart has failed
	socks   []*inetSock
	flows   []nft.Flow                     // of all that will be made
	tables  *nft.Conn                      // holds them; nil: not yet
	table   string                         // by this table; "": none
	lasting string                         // that of ckpt-collect; "": it is not there, or none of this image
	conns   map[connection]*sys.InetSocket // those there are on this system
}

// keeps reports whether a connection is to go on.
func (m *inetMaker) keeps(s *record.InetSock) bool {
	d := m.replacements.joined[s.Objref]
	return s.Repair != nil && d != nil && d.Action == ends.Keep
}

// judgeRepair says what in a record can't be.
func judgeRepair(s *record.InetSock) error {
	r := s.Repair
	if r == nil {
		return nil
	}
	for _, n := range []int64{r.Sent, r.Unsent, r.Received, r.Sent + r.Unsent} {
		if n < 0 || n > maxSockBytes {
			return fmt.Errorf("%w: %d bytes in a connection", stream.ErrCorrupt, n)
		}
	}
	const maxScale, maxMSS = 14, 1<<16 - 1 // TCP_MAX_WSCALE
	if !connected(s) || s.State == sys.TCPSynRecv || s.Pair != 0 || s.Protocol != unix.IPPROTO_TCP || r.MSS < 0 || r.MSS > maxMSS || r.SendScale < 0 || r.SendScale > maxScale ||
		r.RecvScale < 0 || r.RecvScale > maxScale || r.Stamp < 0 || r.Stamp > 1<<32-1 || r.SendBuf < 0 || r.SendBuf > 1<<30 || r.RecvBuf < 0 || r.RecvBuf > 1<<30 || r.Clamp < 0 || r.Clamp > 1<<31-1 {
		return fmt.Errorf("%w: socket %d is no connection that can be kept: %+v", stream.ErrCorrupt, s.Ino, *r)
	}
	return nil
}

// keepHere says what it takes to have a connection go on.
func (m *inetMaker) keepHere(s *record.InetSock) []error {
	if s.Repair != nil && !m.Paper && m.keeps(s) {
		if err := repair.Secure(); err != nil {
			return []error{cli.WithHint(fmt.Errorf("TCP connections can't go on by a ckpt-apply that has its capabilities by its file, see setcap(8), and so by everybody who starts it: %w", err),
				"run it as root, or give it ambient capabilities, see setpriv(1)")}
		}
	}
	if s.Repair == nil || !m.Paper && !m.keeps(s) || caps.Set(m.Own.CapEff).Has(caps.Of(unix.CAP_NET_ADMIN)) {
		return nil
	}
	name := ends.TCP(addrPort(s.Peer))
	return []error{&caps.Missing{Set: caps.Of(unix.CAP_NET_ADMIN), Who: name, To: "have %s go on", Tip: "the program finds it reset with: " + ends.Flag(name, "close")}}
}

// tryKeep looks whether a connection could be made, without making it.
func (m *inetMaker) tryKeep(s *record.InetSock) error {
	k := &m.kept
	c := connection{plain(addrPort(s.Local)), plain(addrPort(s.Peer))}
	k.flows = append(k.flows, nft.Flow{Local: c.local, Peer: c.peer})
	if k.conns == nil {
		list, err := sys.ListInet(unix.IPPROTO_TCP)
		if err != nil {
			return err
		}
		k.conns = map[connection]*sys.InetSocket{}
		for i := range list {
			k.conns[connection{plain(list[i].Local), plain(list[i].Peer)}] = &list[i]
		}
	}
	if there := k.conns[c]; there != nil {
		return notKept(s, errors.New("what is left of an earlier one is still there"), there)
	}
	at := *s.Local
	at.Port = 0
	fd, err := boundTo(s.Domain, &at, s.Options)
	if err != nil {
		return inetBindError(s, err)
	}
	return unix.Close(fd)
}

// notKept is the error for a connection that can't be made again.
func notKept(s *record.InetSock, err error, there *sys.InetSocket) error {
	name := ends.TCP(addrPort(s.Peer))
	hint := "wait until it is gone, or have the program find it reset: " + ends.Flag(name, "close")
	if there != nil && there.Ino != 0 {
		err = errors.New("another program has it")
		if pid := holderOf(there.Ino); pid != 0 {
			err = fmt.Errorf("%s has it", proc.Named(pid))
		}
		hint = "end that program first, or have the program find it reset: " + ends.Flag(name, "close")
	}
	return cli.WithHint(fmt.Errorf("the connection of %s to %v can't go on: %w", nameOf(s), addrPort(s.Peer), err), hint)
}

// makeKept makes the socket of a connection that goes on.
func (s *inetSock) makeKept() error {
	if err := s.m.holdKept(); err != nil {
		return err
	}
	fd, err := unix.Socket(s.rec.Domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, s.rec.Protocol)
	if err != nil {
		return fmt.Errorf("make %s: %w", nameOf(s.rec), err)
	}
	f := os.NewFile(uintptr(fd), nameOf(s.rec))
	if err := s.m.chown(f, s.rec.UID, s.rec.GID, fmt.Sprintf("socket:[%d]", s.rec.Ino)); err != nil {
		return errors.Join(fmt.Errorf("owner of %s: %w", nameOf(s.rec), err), f.Close())
	}
	if err := s.goOn(fd); err != nil {
		return errors.Join(err, f.Close())
	}
	s.f, err = s.m.Depot.Keep(f)
	s.m.kept.socks = append(s.m.kept.socks, s)
	return err
}

// goOn connects it, without a packet.
func (s *inetSock) goOn(fd int) error {
	r := s.rec.Repair
	if err := setOptions(fd, s.rec.Options); err != nil {
		return fmt.Errorf("%s: %w", nameOf(s.rec), err)
	}
	if err := repair.Begin(fd, r, repair.Ended(s.rec.State)); err != nil {
		return fmt.Errorf("%s: %w", nameOf(s.rec), err)
	}
	const room = 1 << 16
	err := errors.Join(setBuffer(fd, unix.SO_RCVBUFFORCE, max(r.RecvBuf/2, int(r.Received)+room)), setBuffer(fd, unix.SO_SNDBUFFORCE, max(r.SendBuf/2, 2*int(r.Sent+r.Unsent)+room)))
	if err != nil {
		return err
	}
	local, err := sockaddr(fd, s.rec.Local)
	if err == nil {
		err = unix.Bind(fd, local)
	}
	if err != nil {
		return inetBindError(s.rec, err)
	}
	to, err := sockaddr(fd, s.rec.Peer)
	if err == nil {
		err = unix.Connect(fd, to)
	}
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		err = errors.New("somebody else has it by now")
	}
	if err != nil {
		return notKept(s.rec, err, nil)
	}
	if err := repair.Agree(fd, r); err != nil {
		return fmt.Errorf("%s: %w", nameOf(s.rec), err)
	}
	return nil
}

func setBuffer(fd, option, size int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, size))
}

// fillKept puts bytes into one of its queues.
func (s *inetSock) fillKept(rec *stream.Record, data io.Reader) error {
	r := s.rec.Repair
	had, most := &s.kept, r.Received
	if rec.Type == record.TypeSockSent {
		had, most = &s.sent, r.Sent+r.Unsent
	}
	first := *had
	if *had += rec.DataLen; *had > most {
		return fmt.Errorf("%w: %d bytes in %s, which has %d", stream.ErrCorrupt, *had, nameOf(s.rec), most)
	}
	buf := make([]byte, rec.DataLen)
	if _, err := io.ReadFull(data, buf); err != nil {
		return stream.ErrTruncated
	}
	fd, err := s.f.Fd()
	if err != nil {
		return err
	}
	queue, now := repair.RecvQueue, len(buf)
	if rec.Type == record.TypeSockSent {
		queue, now = repair.SendQueue, int(max(0, min(rec.DataLen, r.Sent-first)))
		s.unsent = append(s.unsent, buf[now:]...)
	}
	if now == 0 {
		return nil
	}
	if err := repair.Refill(fd, queue, buf[:now]); err != nil {
		return fmt.Errorf("refill %s: %w", nameOf(s.rec), err)
	}
	return nil
}

// completeKept is called when both queues are full. It takes the socket out of repair.
func (s *inetSock) completeKept() error {
	r := s.rec.Repair
	if s.kept != r.Received || s.sent != r.Sent+r.Unsent {
		return fmt.Errorf("%w: %d bytes of %d to be read and %d of %d written in %s", stream.ErrCorrupt, s.kept, r.Received, s.sent, r.Sent+r.Unsent, nameOf(s.rec))
	}
	fd, err := s.f.Fd()
	if err != nil {
		return err
	}
	err = errors.Join(repair.Window(fd, r), repair.FIN(fd, repair.Ended(s.rec.State) && r.Unsent == 0))
	if err == nil && (hasEnded(s.rec) || s.rec.Shutdown&shutRead != 0) {
		// The kernel can't be told that the other side has ended. It has acknowledged that,
		// for so are the sequence numbers, and to the program this is the same.
		err = os.NewSyscallError("shutdown", unix.Shutdown(fd, unix.SHUT_RD))
	}
	if err == nil {
		err = s.leaveRepair(fd)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", nameOf(s.rec), err)
	}
	return nil
}

// reuse is SO_REUSEADDR of the program.
func (s *inetSock) reuse() int {
	on, _ := optionOf(s.rec.Options, unix.SOL_SOCKET, unix.SO_REUSEADDR)
	return int(on)
}

// leaveRepair takes a socket out of repair and writes what had not been sent yet. Packets
// are still held.
func (s *inetSock) leaveRepair(fd int) error {
	if err := repair.Off(fd, 1); err != nil { // those that listen at the same port need that to begin
		return err
	}
	if err := repair.Send(fd, s.unsent, len(s.unsent)); err != nil {
		return err
	}
	if len(s.unsent) > 0 && repair.Ended(s.rec.State) {
		if err := unix.Shutdown(fd, unix.SHUT_WR); err != nil {
			return os.NewSyscallError("shutdown", err)
		}
	}
	r, lock := s.rec.Repair, int64(0)
	if set, has := optionOf(s.rec.Options, unix.SOL_SOCKET, soBufLock); has {
		lock = set
	}
	return errors.Join(setBuffer(fd, unix.SO_RCVBUFFORCE, r.RecvBuf/2), setBuffer(fd, unix.SO_SNDBUFFORCE, r.SendBuf/2),
		os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, soBufLock, int(lock))), abortive(fd))
}

package files

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/ends"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// contents notes what waits in a socket: bytes of a connection are sent, and what can't
// be is counted. Datagrams can be looked at, but could be put back only by sending them
// through this host's network, from addresses that are mostly not its own (IP_TRANSPARENT):
// packet filters and other sockets of the port would see them, too, and what tells of the
// way they came would differ.
func (s *inetSocks) contents(sub *Subject, rec *record.InetSock) error {
	fd, err := borrowFD(sub)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	t := typeOf(rec)
	if t.tcp() && rec.Peer != nil { // options take long to read, and it may have gone on meanwhile
		if err := inetState(fd, t, rec); err != nil {
			return err
		}
	}
	switch {
	case !t.tcp():
		var merr error
		rec.Members, merr = s.multicast(fd, t.domain)
		mem, err := waitingBytes(fd)
		err = errors.Join(err, merr)
		if rec.Waiting = mem; mem > 0 {
			s.c.lose(sub, fmt.Sprintf("is %s, and the datagrams that wait in it, which take %d bytes of memory, will be lost", Describe(sub), mem))
		}
		return errors.Join(err, s.shutdown(rec))
	case rec.State == sys.TCPListen:
		if rec.Waiting > 0 {
			s.c.lose(sub, fmt.Sprintf("is %s, and connections that nobody has accepted yet will be lost: %d", Describe(sub), rec.Waiting))
		}
		return nil
	case rec.Ended && rec.Peer == nil:
		return s.bytes(fd, rec)
	case rec.Peer == nil || rec.State == sys.TCPSynSent:
		return nil
	}
	local, peer := addrPort(rec.Local), addrPort(rec.Peer)
	if err := s.list(); err != nil {
		return err
	}
	if marked, err := s.marked(fd, local, peer); err != nil || marked {
		if marked {
			s.c.Block(sub.PID, cli.WithHint(fmt.Errorf("fd %d is %s with a mark in what was not read yet, where urgent data was (MSG_OOB), which can't be saved", sub.FD, Describe(sub)),
				"save it when the program has read more"))
		}
		return err
	}
	if rec.Ended {
		return s.bytes(fd, rec)
	}
	if other := s.conns[connection{plain(peer), plain(local)}]; other != nil && other.Ino != rec.Ino && t.proto == unix.IPPROTO_TCP {
		if err := s.makeRoom(sub, fd, other); err != nil {
			return err
		}
		if err := inetState(fd, t, rec); err != nil { // which that may have changed
			return err
		}
		if err := s.pair(sub, fd, rec, other); err != nil {
			return err
		}
	} else if gone := s.orphans[connection{plain(peer), plain(local)}]; gone != nil && !s.c.Dry {
		if err := s.drain(sub, fd, t, rec, gone); err != nil {
			return err
		}
	} else if s.c.Keep != nil {
		s.c.noteConnection(sub, ends.TCP(peer), true)
		return s.keep(sub, rec)
	} else {
		s.c.noteConnection(sub, ends.TCP(peer), false)
	}
	return s.bytes(fd, rec)
}

// marked reports whether urgent data was read before what stands in front of it: the kernel
// shows nothing behind that place.
func (s *inetSocks) marked(fd int, local, peer netip.AddrPort) (bool, error) {
	own := s.conns[connection{plain(local), plain(peer)}]
	if own == nil {
		return false, nil
	}
	shown, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	if err != nil {
		return false, os.NewSyscallError("ioctl", err)
	}
	fin := 0
	switch own.State {
	case sys.TCPCloseWait, sys.TCPLastAck, sys.TCPClosing, sys.TCPTimeWait:
		fin = 1
	}
	return int64(own.Unread) > int64(shown+fin), nil
}

// settle ends what took the whole tree.
func (s *inetSocks) settle() error {
	if err := s.judgePairs(); err != nil {
		return err
	}
	return s.c.doneReading()
}

// drain has a socket receive what the other end had sent before it was closed: nobody has
// that end, and what is in it would be gone with this one.
func (s *inetSocks) drain(sub *Subject, fd int, t sockType, rec *record.InetSock, gone *sys.InetSocket) error {
	if err := s.makeRoom(sub, fd, gone); err != nil {
		return err
	}
	for range 20 { // the end of the stream follows at once
		if err := inetState(fd, t, rec); err != nil || hasEnded(rec) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	s.c.Block(sub.PID, passing{cli.WithHint(fmt.Errorf("fd %d is %s, whose other end was closed with %d bytes still to come, which can't be saved", sub.FD, Describe(sub), gone.Unacked),
		"save it when the program has read more")})
	return nil
}

// waitingBytes returns how much memory the datagrams take that wait in a socket.
func waitingBytes(fd int) (int64, error) {
	const soMemInfo = 55 // SO_MEMINFO, whose first number is SK_MEMINFO_RMEM_ALLOC
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, soMemInfo)
	return int64(n), os.NewSyscallError("getsockopt", err)
}

// shutdown fills in which directions of a UDP socket are shut down. One without an
// address the kernel does not list.
func (s *inetSocks) shutdown(rec *record.InetSock) error {
	if typeOf(rec).raw() {
		return nil // of these nothing lists it
	}
	if s.shut[rec.Protocol] == nil {
		list, err := sys.ListInet(rec.Protocol)
		if err != nil {
			return err
		}
		s.shut[rec.Protocol] = map[uint64]int{}
		for i := range list {
			s.shut[rec.Protocol][list[i].Ino] = list[i].Shutdown & shutBoth
		}
	}
	rec.Shutdown = s.shut[rec.Protocol][rec.Ino]
	return nil
}

// list lists the TCP connections of the tree.
func (s *inetSocks) list() error {
	if s.conns != nil {
		return nil
	}
	s.conns, s.orphans, s.peers = map[connection]*sys.InetSocket{}, map[connection]*sys.InetSocket{}, map[uint64]netip.AddrPort{}
	all, err := sys.ListInet(unix.IPPROTO_TCP)
	for i := range all {
		if a := &all[i]; s.inside[a.Ino] && a.State != sys.TCPListen && a.State != sys.TCPClose {
			s.conns[connection{plain(a.Local), plain(a.Peer)}], s.peers[a.Ino] = a, a.Peer
		} else if a.Ino == 0 && a.Unacked > 0 && a.State != sys.TCPTimeWait {
			s.orphans[connection{plain(a.Local), plain(a.Peer)}] = a
		}
	}
	if err != nil || s.c.Keep == nil {
		return err
	}
	return s.hold()
}

// bytes arranges for what waits in a connection to be sent.
func (s *inetSocks) bytes(fd int, rec *record.InetSock) error {
	data, err := peekStream(fd)
	if err != nil || len(data) == 0 {
		return err
	}
	q, id := &queue{data: data}, rec.ID
	rec.Unread = int64(len(data))
	s.full = append(s.full, func(w *stream.Writer, _ func() bool) error { return q.send(w, id) })
	return nil
}

// peekStream returns the bytes that a program has yet to read from a connection.
func peekStream(fd int) ([]byte, error) {
	n, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	if err != nil || n == 0 {
		return nil, os.NewSyscallError("ioctl", err)
	}
	buf := make([]byte, n)
	for {
		n, _, err = unix.Recvfrom(fd, buf, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, peekError(err)
		case n != len(buf):
			return nil, fmt.Errorf("only %d bytes of %d that wait in a connection can be seen", n, len(buf))
		}
		return buf, nil
	}
}

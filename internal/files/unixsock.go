package files

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/ends"
	"ckpt/internal/kcmp"
	"ckpt/internal/object"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// unixSockKind: unix sockets.
var unixSockKind = Kind{
	Type: record.TypeUnixSock,
	Data: []record.Type{record.TypeSockData},
	Part: []record.Type{record.TypeSockRights},
	Save: func(c *Collector) Saver {
		u := &unixSocks{c: c, inside: map[uint64]bool{}, seen: map[uint64]*unixEnd{}, same: sameOpen{cmp: kcmp.Kernel{}}}
		return Saver{Look: u.look, Match: isUnixSock, Collect: u.collect, Settle: u.settle, Send: func() []Sender { return u.full }}
	},
	Restore: func(r *Restorer) Maker {
		m := newSockMaker(r)
		r.clearSockets = m.clear
		return Maker{Kind: object.Kind{Check: m.check, Here: r.unixSockHere, Names: unixSockNames, Make: m.make, Add: m.addRights}, Thing: unixSockThing}
	},
}

func unixSockThing(rec *stream.Record) (*Thing, error) {
	s, err := decode[record.UnixSock](rec)
	if err != nil {
		return nil, err
	}
	t := &Thing{Name: unixSockEnd(s), Paired: !s.Outside && s.Listen == nil}
	if !s.Outside {
		return t, nil
	}
	t.Loose, t.Self = "whose other end is", []ends.Action{ends.Close}
	if t.Propose = proposal(s); t.Propose == "connect" {
		t.Self = append(t.Self, ends.Connect)
	}
	if len(s.PeerName) == 0 {
		t.All = ends.Unix0
	}
	if reconnects(s) {
		t.Default = ends.Connect
	}
	return t, nil
}

// unixSockEnd names a socket as one of its two ends, or the place it leads to.
func unixSockEnd(s *record.UnixSock) string {
	name := s.PeerName
	if s.Listen != nil {
		name = s.Name
	}
	if len(name) == 0 {
		return ends.Unix(s.Ino)
	}
	return ends.UnixName(name)
}

// unixSockNames: a process with the id of the sockets' maker, see PeerCred, exists
// again for a moment.
func unixSockNames(rec *stream.Record) []int {
	s, err := decode[record.UnixSock](rec)
	if err != nil || s.Maker == nil {
		return nil
	}
	return []int{s.Maker.PID}
}

const (
	shutRead = 1 << iota // of Shutdown
	shutWrite
	shutBoth = shutRead | shutWrite
)

// isUnixSock asks the socket for its domain.
func isUnixSock(s *Subject) bool {
	t, ok := socketType(s)
	return ok && t.domain == unix.AF_UNIX
}

// unixEnd is a socket of the tree, and where it is open.
type unixEnd struct {
	pid, fd int
	peer    uint64
	id      uint64 // of its record
}

// unixSocks is what a checkpoint knows about unix sockets.
type unixSocks struct {
	c       *Collector
	inside  map[uint64]bool     // sockets of the tree, by inode number
	seen    map[uint64]*unixEnd // those collected so far, by inode number
	order   []uint64            // of seen
	table   sys.UnixTable
	listens map[unixPlace]bool
	waiting map[uint64]bool // clients that wait for a socket of the tree to accept them
	full    []Sender
	flights []flight
	same    sameOpen
	// How many sockets in flight what is described now is in, and the one of the tree.
	deep  int
	outer *Subject
}

func (u *unixSocks) look(s *Subject) {
	if !isSocket(s) || u.inside[s.Stat.Ino] {
		return
	}
	u.inside[s.Stat.Ino] = true
	if n, told := s.Info.Get("scm_fds"); told && n != "0" && isUnixSock(s) {
		u.lookInFlight(s)
	}
}

// collect describes a socket the first time it is called for it.
func (u *unixSocks) collect(s *Subject) (uint64, error) {
	if end := u.seen[s.Stat.Ino]; end != nil && end.id != 0 {
		return end.id, nil
	}
	f, err := borrow(s)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	d, err := u.table.Query(s.Stat.Ino)
	if errors.Is(err, unix.ENOENT) {
		return u.block(s, 0, "of another network namespace")
	}
	if errors.Is(err, unix.EMSGSIZE) { // unix_diag_get_exact in net/unix/diag.c
		u.c.Block(s.PID, passing{cli.WithHint(fmt.Errorf("fd %d is %s with more connections waiting to be accepted than the kernel tells of, which can't be saved", s.FD, Describe(s)),
			"save it when the program has accepted some")})
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	first := u.note(s, d.Peer)
	failed, err := hasError(f)
	if err != nil {
		return 0, err
	}
	if why := unixObstacle(f, d, failed); why != "" {
		return u.block(s, d.Peer, why)
	}
	rec, err := u.describe(s, f, d)
	if rec == nil || err != nil {
		return 0, err
	}
	rec.Reset = failed
	if rec.Outside {
		u.c.noteEnd(Outside{unixSockEnd(rec), s.PID, s.FD, "whose other end is outside", d.Peer, proposal(rec), reconnects(rec)})
	}
	inFlight, told := s.Info.Get("scm_fds")
	// The queue is read only once. In a dry run it would be read only to find
	// descriptors in flight, so it is left alone if fdinfo already told that there are
	// none: reading has a cost, because the kernel shows an empty message only once.
	if first && rec.Listen == nil && !(u.c.Dry && told && inFlight == "0") {
		if err := u.data(rec.ID, s, f, d, failed); errors.Is(err, errInFlight) {
			return u.blockFlight(s, "with more descriptors in flight (SCM_RIGHTS) than can be looked at")
		} else if errors.Is(err, errDeep) {
			u.flights = u.flights[:len(u.flights)-1]
			return u.blockFlight(s, fmt.Sprintf("in which sockets are in flight (SCM_RIGHTS) in one another, more than %d", maxDeep))
		} else if errors.Is(err, errBorders) {
			return u.blockFlight(s, "with bytes before descriptors in flight (SCM_RIGHTS), whose border the kernel does not show")
		} else if errors.Is(err, errNested) {
			return u.blockFlight(s, "with something waiting in it that can't be looked at")
		} else if errors.Is(err, errHidden) {
			return u.block(s, d.Peer, "with an empty message among others, whose place in the queue the kernel shows only once and has shown to somebody before")
		} else if err != nil {
			return 0, err
		}
	}
	u.seen[s.Stat.Ino].id = rec.ID
	return rec.ID, u.c.Emit(record.TypeUnixSock, rec)
}

// block blocks a socket.
func (u *unixSocks) block(s *Subject, peer uint64, why string) (uint64, error) {
	if peer != 0 && u.c.Outsider != nil {
		if who := u.c.Outsider("socket", peer); who != "" {
			why += ", with " + who + " at the other end"
		}
	}
	u.c.Block(s.PID, fmt.Errorf("fd %d is %s %s, which can't be saved", s.FD, Describe(s), why))
	return 0, nil
}

// blockFlight blocks a socket for what is in flight in it.
func (u *unixSocks) blockFlight(s *Subject, why string) (uint64, error) {
	u.c.Block(s.PID, passing{cli.WithHint(fmt.Errorf("fd %d is %s %s, which can't be saved", s.FD, Describe(s), why), "try again: it is for a moment that descriptors are in flight")})
	return 0, nil
}

// describe fills in the record; it is nil if the socket is blocked.
func (u *unixSocks) describe(s *Subject, f *os.File, d *sys.UnixSocket) (*record.UnixSock, error) {
	fd, waits := int(f.Fd()), waitsToBeAccepted(d)
	rec := &record.UnixSock{
		Object: record.Object{ID: u.c.NewID(), Ident: ident(record.TypeUnixSock, s.Stat.Dev, s.Stat.Ino)},
		Ino:    s.Stat.Ino, Peer: d.Peer, Orphan: d.HasPeer && d.Peer == 0 && !waits, Kind: d.Type,
		UID: s.Stat.Uid, GID: s.Stat.Gid, Shutdown: d.Shutdown, Name: d.Name,
		Outside: d.Peer != 0 && !u.inside[d.Peer],
	}
	if waits {
		if good, err := u.waits(s, f, rec); !good || err != nil {
			return nil, err
		}
	}
	if err := readSockOptions(fd, rec); err != nil {
		return nil, err
	}
	var err error
	if rec.Maker, err = makerOf(fd); err != nil {
		return nil, err
	}
	if rec.Outside || rec.Orphan {
		if rec.PeerName, err = sys.UnixPeer(fd); err != nil && !errors.Is(err, unix.ENOTCONN) {
			return nil, err
		}
	}
	if d.State == sys.UnixListening {
		if rec.Listen = u.listen(s, d); rec.Listen == nil {
			return nil, nil
		}
	}
	if rec.Accepted, err = u.accepted(d); err != nil || rec.Accepted || len(rec.Name) == 0 || rec.Name[0] == 0 {
		return rec, err
	}
	if rec.File, err = u.file(s, fd, d); rec.File == nil {
		return nil, err
	}
	return rec, err
}

// makerOf returns who made a pair of sockets; nil for a socket without a peer.
func makerOf(fd int) (*record.PeerCred, error) {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	if c.Pid == 0 && c.Uid == ^uint32(0) {
		return nil, nil
	}
	groups, err := sys.PeerGroups(fd)
	return &record.PeerCred{PID: int(c.Pid), UID: c.Uid, GID: c.Gid, Groups: groups}, err
}

// note notes a socket, and reports whether this is the first time.
func (u *unixSocks) note(s *Subject, peer uint64) (first bool) {
	if u.seen[s.Stat.Ino] != nil {
		return false
	}
	u.seen[s.Stat.Ino] = &unixEnd{pid: s.PID, fd: s.FD, peer: peer}
	u.order = append(u.order, s.Stat.Ino)
	return true
}

// hasError reports whether a socket has a pending error (SO_ERROR).
func hasError(f *os.File) (bool, error) {
	p := []unix.PollFd{{Fd: int32(f.Fd())}}
	if err := pollNow(p); err != nil {
		return false, err
	}
	return p[0].Revents&unix.POLLERR != 0, nil
}

// unixObstacle says why a unix socket can't be saved, or "".
func unixObstacle(f *os.File, d *sys.UnixSocket, failed bool) string {
	orphan := d.HasPeer && d.Peer == 0
	switch {
	case d.Type != unix.SOCK_STREAM && d.Type != unix.SOCK_DGRAM && d.Type != unix.SOCK_SEQPACKET:
		return fmt.Sprintf("of type %d", d.Type)
	case !d.HasPeer && d.Queued > 0 && d.Name == nil:
		return "with messages in it, and not connected"
	case failed && (d.Type == unix.SOCK_DGRAM || !orphan || d.Type == unix.SOCK_SEQPACKET && d.Queued > 0):
		return "with an error pending"
	}
	if d.Type == unix.SOCK_STREAM && d.State != sys.UnixListening {
		if n, _, err := unix.Recvfrom(int(f.Fd()), make([]byte, 1), unix.MSG_OOB|unix.MSG_PEEK|unix.MSG_DONTWAIT); err == nil && n == 1 {
			return "with out-of-band data in it"
		}
	}
	return ""
}

// data arranges for what waits in a socket to be sent.
func (u *unixSocks) data(id uint64, s *Subject, f *os.File, d *sys.UnixSocket, failed bool) error {
	if failed && d.Queued == 0 {
		return nil // a look would clear the error
	}
	nested := false
	q, err := peekQueue(int(f.Fd()), d, &u.table, func(off int) (func() error, error) {
		if nested = s.PID == os.Getpid(); nested {
			return nil, nil // no task has it, and so none could put that right
		}
		old := binary.NativeEndian.AppendUint32(nil, uint32(int32(off)))
		return u.c.Guard(old, unix.SYS_SETSOCKOPT, uint64(s.FD), unix.SOL_SOCKET, unix.SO_PEEK_OFF, ScratchArg, uint64(len(old)))
	})
	if err == nil && nested {
		return errNested
	}
	if err != nil || q.empty() {
		return err
	}
	if len(q.rights) > 0 {
		u.flights = append(u.flights, flight{id, cmp.Or(u.outer, s), q.rights, u.deep})
		q.rights = nil
		if u.deep > maxDeep {
			return errDeep
		}
	}
	u.full = append(u.full, func(w *stream.Writer, _ func() bool) error { return q.send(w, id) })
	return nil
}

// send writes SOCKDATA records.
func (q *queue) send(w *stream.Writer, id uint64) error {
	data, messages, creds, names := q.data, q.messages, q.creds, q.names
	for len(data) > 0 || len(messages) > 0 {
		meta, n := record.SockData{Refs: record.InodeRef{Inode: id}}, min(len(data), q.chunkBytes())
		if len(messages) > 0 {
			n = 0
			for len(messages) > 0 && len(meta.Messages) < 1<<14 && (n == 0 || n+int(messages[0]) <= stream.DataChunkBytes) {
				meta.Messages = append(meta.Messages, messages[0])
				n, messages = n+int(messages[0]), messages[1:]
			}
			meta.Creds = nextSenders(&creds, int64(len(meta.Messages)))
			meta.Senders = nextNames(&names, int64(len(meta.Messages)))
		} else {
			meta.Creds = nextSenders(&creds, int64(n))
		}
		rec, err := stream.New(record.TypeSockData, &meta)
		if err != nil {
			return err
		}
		rec.DataLen = int64(n)
		if err := w.Write(rec, bytes.NewReader(data[:n])); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// chunkBytes bounds a record's data: each byte of a stream may have a sender of
// its own, which takes more room.
func (q *queue) chunkBytes() int {
	if len(q.creds) > 1 && q.messages == nil {
		return 1 << 14
	}
	return stream.DataChunkBytes
}

// settle describes what is in flight, which may be sockets with more of that.
func (u *unixSocks) settle() error {
	for len(u.flights) > 0 {
		next := u.flights[0]
		u.flights = u.flights[1:]
		if err := u.inFlight(&next); err != nil {
			return err
		}
	}
	return u.judgePeers()
}

// judgePeers blocks sockets of the tree that are connected one way only, to one without
// an address.
func (u *unixSocks) judgePeers() error {
	for _, ino := range u.order {
		end := u.seen[ino]
		if end.peer == 0 {
			continue
		}
		other := u.seen[end.peer]
		if other == nil || other.peer == ino {
			continue
		}
		d, err := u.table.Query(end.peer)
		if err != nil {
			return err
		}
		if d.Name == nil {
			u.c.Block(end.pid, fmt.Errorf("fd %d is a unix socket connected to fd %d of pid %d, which is not connected back and has no address; that can't be saved", end.fd, other.fd, other.pid))
		}
	}
	return nil
}

package files

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/depot"
	"ckpt/internal/object"
	"ckpt/internal/parallel"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// inetSockKind: sockets of TCP, MPTCP, UDP, UDP-Lite and ICMP, and raw ones. What a connection that leads
// out of the tree had is lost but for the bytes that the program has yet to read: the
// restored program finds it reset, see inetsock_reset.go; or it is kept, see inetsock_keep.go.
var inetSockKind = Kind{
	Type: record.TypeInetSock,
	Data: []record.Type{record.TypeSockData, record.TypeSockSent},
	Save: func(c *Collector) Saver {
		s := &inetSocks{c: c, inside: map[uint64]bool{}, first: map[uint64]*Subject{}, seen: map[uint64]uint64{}, pairs: map[uint64]*inetEnd{}, shut: map[int]map[uint64]int{}, fresh: map[[3]int][]record.LevelOption{}, read: map[inodeKey]*readSock{}}
		return Saver{Look: s.look, Match: isInetSock, Ahead: s.ahead, Collect: s.collect, Settle: s.settle, Send: func() []Sender { return s.full }}
	},
	Restore: func(r *Restorer) Maker {
		m := &inetMaker{Restorer: r, alone: map[uint64]*inetSock{}, listeners: map[int]*depot.File{}}
		r.certain, r.freed = append(r.certain, m.certainKept), append(r.freed, m.liftKept)
		return Maker{Kind: object.Kind{Check: m.check, Here: m.here, Make: m.make}, Thing: m.thing}
	},
}

const (
	protoUDPLite = 136 // IPPROTO_UDPLITE
	protoMPTCP   = 262 // IPPROTO_MPTCP
)

// isInetSock asks a socket for its domain and protocol.
func isInetSock(s *Subject) bool {
	t, ok := socketType(s)
	return ok && t.isOurs()
}

func (t sockType) isOurs() bool {
	if t.domain != unix.AF_INET && t.domain != unix.AF_INET6 {
		return false
	}
	switch t.proto {
	case unix.IPPROTO_TCP, protoMPTCP:
		if t.kind == unix.SOCK_STREAM {
			return true
		}
	case unix.IPPROTO_UDP, protoUDPLite:
		if t.kind == unix.SOCK_DGRAM {
			return true
		}
	}
	return t.raw()
}

// raw reports whether a socket is a raw one, or one of ICMP, which is much like that.
func (t sockType) raw() bool {
	icmp := map[int]int{unix.AF_INET: unix.IPPROTO_ICMP, unix.AF_INET6: unix.IPPROTO_ICMPV6}[t.domain]
	return t.kind == unix.SOCK_RAW && t.proto >= 0 && t.proto < 256 || t.kind == unix.SOCK_DGRAM && t.proto == icmp
}

func (t sockType) tcp() bool { return t.kind == unix.SOCK_STREAM }

// optionSet is the set of options that a socket has.
func optionSet(s *record.InetSock) sockSet {
	of := ofUDP
	if typeOf(s).raw() {
		of = ofRaw
	}
	if s.Kind == unix.SOCK_STREAM {
		of = ofTCP
		if s.State == sys.TCPListen || s.State == sys.TCPClose && !s.Ended {
			of |= ofUnlinked
		}
	}
	if s.Domain == unix.AF_INET6 {
		of |= ofV6
	}
	return of
}

// inetSocks is what a checkpoint knows about sockets of IP.
type inetSocks struct {
	c       *Collector
	inside  map[uint64]bool       // sockets of the tree, by inode number
	first   map[uint64]*Subject   // a descriptor of each, by inode number
	held    map[connection]uint64 // connections to the outside whose packets are held, and the inode number of each
	holding error                 // why they are not
	snaps   map[uint64]*snap      // what was read of them, by inode number
	seen    map[uint64]uint64     // the records of those collected so far, by inode number
	mu      sync.Mutex            // of fresh
	fresh   map[[3]int][]record.LevelOption
	read    map[inodeKey]*readSock         // what ahead has read
	conns   map[connection]*sys.InetSocket // TCP connections of the tree
	orphans map[connection]*sys.InetSocket // ends that nobody has, with bytes to send
	peers   map[uint64]netip.AddrPort      // and to whom they lead, by inode number
	pairs   map[uint64]*inetEnd            // ends of those that have both ends in the tree, by inode number
	order   []*inetEnd
	shut    map[int]map[uint64]int // Shutdown of datagram sockets, by protocol and inode number
	groups  []proc.Multicast       // all there are
	full    []Sender
}

// connection is a TCP connection, seen from one end.
type connection struct{ local, peer netip.AddrPort }

func (s *inetSocks) look(sub *Subject) {
	if isSocket(sub) {
		s.inside[sub.Stat.Ino] = true
		if s.first[sub.Stat.Ino] == nil {
			s.first[sub.Stat.Ino] = sub
		}
	}
}

// readSock is what was read of a socket.
type readSock struct {
	sub       *Subject
	rec       record.InetSock // state, addresses and options
	why, hint string          // why it can't be saved
	read      bool
	err       error
}

// ahead reads sockets, some eighty options of each.
func (s *inetSocks) ahead(subjects []*Subject) {
	if s.c.Keep != nil && s.conns == nil && slices.ContainsFunc(subjects, isInetSock) {
		s.holding = s.list() // packets are held first, for they could change what is read now
	}
	var all []*readSock
	for _, sub := range subjects {
		if isSocket(sub) && s.seen[sub.Stat.Ino] == 0 && s.read[sub.inode()] == nil {
			r := &readSock{sub: sub}
			s.read[sub.inode()], all = r, append(all, r)
		}
	}
	_ = parallel.Each(len(all), func(i int) error {
		if isInetSock(all[i].sub) {
			all[i].err = s.readSock(all[i])
			all[i].read = true
		}
		return nil
	})
	for _, r := range all {
		if !r.read {
			delete(s.read, r.sub.inode())
		}
	}
}

func (s *inetSocks) readSock(r *readSock) error {
	sub := r.sub
	fd, err := borrowFD(sub)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	t, _ := socketType(sub) // which isInetSock has asked for
	r.rec = record.InetSock{Object: record.Object{Ident: ident(record.TypeInetSock, sub.Stat.Dev, sub.Stat.Ino)},
		Ino: sub.Stat.Ino, Domain: t.domain, Kind: t.kind, Protocol: t.proto, UID: sub.Stat.Uid, GID: sub.Stat.Gid}
	if err := inetState(fd, t, &r.rec); err != nil {
		return err
	}
	if r.why, r.hint = inetObstacle(fd, t, &r.rec); r.why != "" {
		return nil
	}
	r.rec.Options, err = s.options(fd, t, optionSet(&r.rec))
	return err
}

// collect describes a socket the first time it is called for it.
func (s *inetSocks) collect(sub *Subject) (uint64, error) {
	if id := s.seen[sub.Stat.Ino]; id != 0 {
		return id, nil
	}
	if s.holding != nil {
		return 0, s.holding
	}
	r := s.read[sub.inode()]
	if r == nil { // its type could not be asked for then
		r = &readSock{sub: sub}
		r.err = s.readSock(r)
	}
	if r.err != nil {
		return 0, r.err
	}
	if r.why != "" {
		s.c.Block(sub.PID, cli.WithHint(fmt.Errorf("fd %d is %s %s, which can't be saved", sub.FD, Describe(sub), r.why), r.hint))
		return 0, nil
	}
	rec := &r.rec
	rec.ID = s.c.NewID()
	if rec.State == sys.TCPSynSent { // getpeername(2) does not tell yet
		if err := s.list(); err != nil {
			return 0, err
		}
		rec.Peer = recordAddr(s.peers[rec.Ino], rec.Domain)
	}
	if err := s.contents(sub, rec); err != nil {
		return 0, err
	}
	s.seen[rec.Ino] = rec.ID
	delete(s.read, sub.inode())
	s.c.notePort(sub, rec)
	return rec.ID, s.c.Emit(record.TypeInetSock, rec)
}

// inetState fills in state and addresses.
func inetState(fd int, t sockType, rec *record.InetSock) error {
	local, err := unix.Getsockname(fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	rec.Local = addrOf(fd, local)
	if t.kind == unix.SOCK_RAW && rec.Local != nil { // what it tells as its port is the protocol
		if rec.Local.Port = 0; plain(addrPort(rec.Local)).Addr().IsUnspecified() {
			rec.Local = nil
		}
	}
	if peer, err := unix.Getpeername(fd); err == nil {
		rec.Peer = addrOf(fd, peer)
	}
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	if err := pollNow(p); err != nil {
		return err
	}
	hungUp := p[0].Revents&unix.POLLRDHUP != 0
	if !t.tcp() {
		rec.State = sys.TCPClose
		if rec.Peer != nil {
			rec.State = sys.TCPEstablished
		}
		return nil
	}
	info, err := tcpInfo(fd)
	if err != nil {
		return err
	}
	rec.State = int(info.State)
	switch rec.State {
	case sys.TCPListen: // see tcp_get_info in net/ipv4/tcp.c
		rec.Backlog, rec.Waiting = int(info.Sacked), int64(info.Unacked)
	case sys.TCPClose:
		rec.Ended, rec.Failed, rec.Peer = hungUp, p[0].Revents&unix.POLLERR != 0, nil
	}
	return nil
}

// tcpInfo is TCP_INFO.
func tcpInfo(fd int) (*unix.TCPInfo, error) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO)
	return info, os.NewSyscallError("getsockopt", err)
}

// keepsBack reports whether a socket has been given something that it has not sent, for
// longer than sending takes.
func keepsBack(fd int) bool {
	for range 10 {
		if n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ); err != nil || n == 0 { // icmp(7) sockets don't tell
			return false
		}
		time.Sleep(time.Millisecond)
	}
	return true
}

// inetObstacle says why a socket can't be saved, and what to do; or "".
func inetObstacle(fd int, t sockType, rec *record.InetSock) (why, hint string) {
	if elsewhere(fd) {
		return "of another network namespace", "save it from inside that, see nsenter(1)"
	}
	if _, err := sys.SocketFilter(fd); errors.Is(err, unix.EACCES) {
		return "with an eBPF filter", "detach it before, see SO_DETACH_FILTER in socket(7)"
	}
	if t.raw() && (rec.Peer != nil || proc.IsConnectedRaw(rec.Ino)) {
		return "connected to an address", "send to the address with each packet"
	}
	if !t.tcp() {
		if on, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_CORK); err == nil && on != 0 {
			return "that keeps back what is sent (UDP_CORK), which the kernel does not show", "save it when the program has let it go"
		}
		if !t.raw() && keepsBack(fd) {
			return "that has begun a datagram (MSG_MORE), which the kernel does not show", "save it when the program has sent it"
		}
		return "", ""
	}
	var name [16]byte
	if n, err := sys.Getsockopt(fd, unix.SOL_TCP, unix.TCP_ULP, name[:]); t.proto == unix.IPPROTO_TCP && err == nil && n > 0 && name[0] != 0 {
		return fmt.Sprintf("with the protocol %q on top (TCP_ULP), whose keys the kernel does not show", unix.ByteSliceToString(name[:])), "switch off kernel TLS in the program"
	}
	if on, err := unix.GetsockoptInt(fd, unix.SOL_TCP, unix.TCP_REPAIR); err == nil && on != 0 {
		return "in repair mode (TCP_REPAIR)", "another checkpoint may be at work"
	}
	if off, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF); err == nil && off >= 0 {
		return "that is looked at from an offset on (SO_PEEK_OFF), which a look would move", "switch that off in the program"
	}
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}
	if err := pollNow(p); err == nil && p[0].Revents&unix.POLLPRI != 0 {
		return "with urgent data in it (MSG_OOB)", "save it when the program has read that"
	}
	return "", ""
}

// elsewhere reports whether a socket is of another network namespace than ours.
// Kernels before 5.14 do not tell.
func elsewhere(fd int) bool {
	ours, errOurs := ownNetwork()
	its, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return errOurs == nil && err == nil && its != ours
}

// ownNetwork is the cookie of our network namespace.
var ownNetwork = sync.OnceValues(func() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
})

// options returns those in which a socket differs from a new one.
func (s *inetSocks) options(fd int, t sockType, of sockSet) ([]record.LevelOption, error) {
	fresh, err := s.freshOptions(t, of)
	if err != nil {
		return nil, err
	}
	list, err := readOptions(fd, of, fresh)
	if err != nil || !t.tcp() {
		return list, err
	}
	return withoutTuned(list), nil
}

// freshOptions returns those of a new socket.
func (s *inetSocks) freshOptions(t sockType, of sockSet) ([]record.LevelOption, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := [3]int{t.domain, t.proto, int(of)}
	if fresh, known := s.fresh[key]; known {
		return fresh, nil
	}
	ours, err := unix.Socket(t.domain, t.kind|unix.SOCK_CLOEXEC, t.proto)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(ours)
	fresh, err := readOptions(ours, of, nil)
	if err != nil {
		return nil, err
	}
	for i := range fresh { // the default differs between systems, and the addresses depend on it
		if fresh[i].Level == unix.SOL_IPV6 && fresh[i].Name == unix.IPV6_V6ONLY {
			fresh[i].Value = -1
		}
	}
	s.fresh[key] = fresh
	return fresh, nil
}

// withoutTuned leaves out the sizes of buffers that TCP itself chooses, see tcp(7).
func withoutTuned(list []record.LevelOption) (left []record.LevelOption) {
	locked, _ := optionOf(list, unix.SOL_SOCKET, soBufLock)
	for _, o := range list {
		if o.Level == unix.SOL_SOCKET && (o.Name == unix.SO_SNDBUF && locked&sndBufLocked == 0 || o.Name == unix.SO_RCVBUF && locked&rcvBufLocked == 0) {
			continue
		}
		left = append(left, o)
	}
	return left
}

package files

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/nft"
	"ckpt/internal/proc"
	"ckpt/internal/repair"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// A TCP connection to the outside that is kept is read in repair, see package repair, while
// its packets are held. When the tree was killed, they are held on: nothing tells the other
// side that the program is gone, until it is there again.

// Keep is how TCP connections are kept.
type Keep struct {
	Kill       bool          // the tree is to be killed
	Checkpoint string        // its id in HEADER
	Timeout    time.Duration // how long packets are held when it was killed
	Distrusted []int         // processes of the tree that must not be lent CAP_NET_ADMIN
}

// hold has the packets of all connections to the outside held, before anything of them
// is read.
func (s *inetSocks) hold() error {
	s.held = map[connection]uint64{}
	var flows []nft.Flow
	links := map[string]*Subject{}
	for c, sock := range s.conns {
		back := connection{c.peer, c.local}
		if s.conns[back] != nil || s.orphans[back] != nil || sock.State == sys.TCPSynSent || sock.State == sys.TCPSynRecv {
			continue
		}
		s.held[c] = sock.Ino
		flows = append(flows, nft.Flow{Local: c.local, Peer: c.peer})
		links[s.first[sock.Ino].Target] = s.first[sock.Ino]
	}
	if len(flows) == 0 {
		return nil
	}
	distrusts := s.distrusts()
	if shares := s.shares(links); shares || distrusts || s.c.Dry {
		return nil
	}
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	const others = 100 // descriptors that this process has besides
	if uint64(len(flows))+others > lim.Cur {
		return cli.WithHint(fmt.Errorf("%d TCP connections are to be kept, and ckpt-collect may have %d descriptors only", len(flows), lim.Cur), "raise the limit, see ulimit -n")
	}
	var err error
	if s.c.keeper, err = repair.Start(flows); err != nil {
		return err
	}
	s.snaps = map[uint64]*snap{}
	return s.c.keeper.Reading(func() error { // this thread is the one that traces the tree
		for _, sub := range links {
			if err := s.snap(sub); err != nil {
				return err
			}
		}
		return nil
	})
}

// snap is what was read of a connection that is kept.
type snap struct {
	*repair.Snapshot
	err error
}

// snap reads a connection. Those that can't be saved are left alone; why, is told later.
func (s *inetSocks) snap(sub *Subject) error {
	s.c.Looking(sub.PID, sub.FD)
	fd, err := borrowFD(sub)
	if err != nil {
		return err
	}
	t, ok := socketType(sub)
	why, _ := inetObstacle(fd, t, &record.InetSock{Ino: sub.Stat.Ino})
	if !ok || t.proto != unix.IPPROTO_TCP || why != "" {
		return os.NewSyscallError("close", unix.Close(fd))
	}
	read, err := s.c.keeper.Read(fd)
	if errors.Is(err, repair.ErrGuard) {
		return err
	}
	s.snaps[sub.Stat.Ino] = &snap{read, err}
	return nil
}

const notKeepHint = "save it without its connections: --tcp reset"

// distrusts blocks the processes that must not be lent CAP_NET_ADMIN: while a socket is in
// repair, others of the same user could get it from them.
func (s *inetSocks) distrusts() bool {
	for _, pid := range s.c.Keep.Distrusted {
		s.c.Block(pid, cli.WithHint(errors.New("has no CAP_NET_ADMIN, and its user could use that of ckpt-collect for an instant while the tree's TCP connections are kept, to take the port of another program"),
			"if you trust that user: --tcp-trust; or "+notKeepHint))
	}
	return len(s.c.Keep.Distrusted) > 0
}

// shares blocks connections that a process outside has, too.
func (s *inetSocks) shares(links map[string]*Subject) bool {
	found, own := false, os.Getpid()
	left := s.c.eachOutside(searchLimit, func(pid, _ int, link string) {
		sub := links[link]
		if sub == nil || pid == own {
			return
		}
		found = true
		delete(links, link)
		s.c.Block(sub.PID, cli.WithHint(fmt.Errorf("fd %d is %s, which can't be kept: %s, which is not being saved, has it, too", sub.FD, Describe(sub), proc.Named(pid)),
			"save that with it, or "+notKeepHint))
	})
	if left == 0 {
		return found
	}
	for _, sub := range links {
		s.c.Block(sub.PID, cli.WithHint(fmt.Errorf("its TCP connections can't be kept: there are too many processes to find out within %v whether one has them, too", searchLimit), notKeepHint))
		break
	}
	return true
}

// keep reads a connection whose packets are held.
func (s *inetSocks) keep(sub *Subject, rec *record.InetSock) error {
	own := connection{plain(addrPort(rec.Local)), plain(addrPort(rec.Peer))}
	if rec.Protocol != unix.IPPROTO_TCP {
		s.c.Block(sub.PID, cli.WithHint(fmt.Errorf("fd %d is %s, which can't be kept: it is one of MPTCP", sub.FD, Describe(sub)), notKeepHint))
		return nil
	}
	if s.held[own] != rec.Ino {
		s.c.Block(sub.PID, passing{cli.WithHint(fmt.Errorf("fd %d is %s, which can't be kept as long as it is not established or only in flight", sub.FD, Describe(sub)), notKeepHint)})
		return nil
	}
	if why := s.signed(sub, own); why != "" {
		s.c.Block(sub.PID, cli.WithHint(fmt.Errorf("fd %d is %s, which can't be kept: its packets are signed (%s), with keys that the kernel does not show", sub.FD, Describe(sub), why), notKeepHint))
		return nil
	}
	if s.c.keeper == nil {
		return nil
	}
	snap := s.snaps[rec.Ino]
	if snap == nil || snap.err != nil {
		var err error
		if snap != nil {
			err = snap.err
		}
		return fmt.Errorf("fd %d is %s, which was not read to be kept: %w", sub.FD, Describe(sub), cmp.Or(err, errors.New("it has changed")))
	}
	rec.Repair, rec.State, rec.Unread = &snap.TCPRepair, snap.State, snap.Received
	if c := s.conns[own]; c != nil {
		rec.Shutdown = c.Shutdown & shutBoth
	}
	q, id := &queue{data: snap.Recv}, rec.ID
	s.full = append(s.full, func(w *stream.Writer, _ func() bool) error {
		return errors.Join(q.send(w, id), sendSent(w, id, snap.Send))
	})
	return nil
}

// signed says by what option the packets of a connection are signed, or "".
func (s *inetSocks) signed(sub *Subject, own connection) string {
	if c := s.conns[own]; c != nil && c.Signed {
		return "TCP_MD5SIG"
	}
	const tcpAOInfo = 40 // TCP_AO_INFO of linux/tcp.h
	fd, err := borrowFD(sub)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var info [64]byte // more than struct tcp_ao_info_opt
	if _, err := sys.Getsockopt(fd, unix.SOL_TCP, tcpAOInfo, info[:]); err == nil {
		return "TCP_AO"
	}
	return ""
}

// sendSent sends what the program had sent.
func sendSent(w *stream.Writer, id uint64, data []byte) error {
	for chunk := range slices.Chunk(data, stream.DataChunkBytes) {
		rec, err := stream.New(record.TypeSockSent, &record.SockSent{Refs: record.InodeRef{Inode: id}})
		if err != nil {
			return err
		}
		rec.DataLen = int64(len(chunk))
		if err := w.Write(rec, bytes.NewReader(chunk)); err != nil {
			return err
		}
	}
	return nil
}

// doneReading lets the packets through again, unless the tree is to be killed: what came
// now would not be in the image.
func (c *Collector) doneReading() error {
	if c.Keep == nil || c.Keep.Kill {
		return nil
	}
	return c.LetGo()
}

// LetGo lets kept connections go on, as if nothing had been. It does nothing when that
// was done, or when the tree was killed.
func (c *Collector) LetGo() error {
	if c.keeper == nil {
		return nil
	}
	return c.keeper.Close()
}

// GuardPID is the process id of the one that would put right the sockets of kept
// connections; 0 if there is none.
func (c *Collector) GuardPID() int {
	if c.keeper == nil {
		return 0
	}
	return c.keeper.GuardPID()
}

// Unguarded is closed when that process has ended; nil if there is none, or if it is not
// needed any more.
func (c *Collector) Unguarded() <-chan struct{} {
	if c.keeper == nil || !c.Keep.Kill {
		return nil
	}
	return c.keeper.Over()
}

func (c *Collector) lastingHold(root int) *repair.Hold {
	return &repair.Hold{Table: repair.LastingName(c.Keep.Checkpoint), Timeout: c.Keep.Timeout,
		Comment: fmt.Sprintf("TCP connections of pid %d, whom ckpt-collect saved: ckpt-apply restores them", root)}
}

// armKeeper is for what is to be done when the tree is dead, if we are then, too.
func (c *Collector) armKeeper(root int) error {
	if c.keeper == nil {
		return nil
	}
	c.root = root
	return c.keeper.Arm(root, c.lastingHold(root))
}

// endKeeping leaves of kept connections nothing but that their packets are held, if the
// tree is dead.
func (c *Collector) endKeeping(dead bool) error {
	if c.keeper == nil {
		return nil
	}
	if !dead {
		return c.keeper.Close()
	}
	h := c.lastingHold(c.root)
	n, err := c.keeper.Bury(h)
	if err != nil {
		return fmt.Errorf("keep TCP connections of the program that was killed: %w", err)
	}
	connections, them := "a TCP connection", "it"
	if n != 1 {
		connections, them = fmt.Sprintf("%d TCP connections", n), "them"
	}
	c.Held = fmt.Sprintf("the other side of %s is left waiting until ckpt-apply restores %s, for %s at most: the table inet %s of nft(8) drops the packets", connections, them, inWords(h.Timeout), h.Table)
	return nil
}

// inWords writes a time as people do: 15m, not 15m0s.
func inWords(d time.Duration) string {
	s := d.String()
	if d >= time.Minute {
		s = strings.TrimSuffix(s, "m0s") + map[bool]string{true: "m"}[strings.HasSuffix(s, "m0s")]
	}
	return strings.TrimSuffix(s, "h0m") + map[bool]string{true: "h"}[strings.HasSuffix(s, "h0m")]
}

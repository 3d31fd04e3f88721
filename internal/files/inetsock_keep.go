package files

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/nft"
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
}

// HoldTable is the name of the table of nf_tables that holds the connections of an image;
// "" if it is none of ours.
func HoldTable(checkpoint string) string {
	if id, err := hex.DecodeString(checkpoint); err != nil || len(id) != 16 {
		return ""
	}
	return repair.Table + checkpoint
}

// hold has the packets of all connections to the outside held, before anything of them
// is read.
func (s *inetSocks) hold() error {
	s.held = map[connection]bool{}
	var flows []nft.Flow
	for c, sock := range s.conns {
		back := connection{c.peer, c.local}
		if s.conns[back] != nil || s.orphans[back] != nil || sock.State == sys.TCPSynSent || sock.State == sys.TCPSynRecv {
			continue
		}
		s.held[c] = true
		flows = append(flows, nft.Flow{Local: c.local, Peer: c.peer})
	}
	if len(flows) == 0 {
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
	s.c.keeper, err = repair.Start(flows)
	return err
}

// keep reads a connection whose packets are held.
func (s *inetSocks) keep(sub *Subject, fd int, rec *record.InetSock) error {
	if s.c.Dry {
		return nil
	}
	own := connection{plain(addrPort(rec.Local)), plain(addrPort(rec.Peer))}
	why, hint := "", "save it without its connections: --tcp reset"
	if off, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF); err == nil && off >= 0 {
		why = "it is looked at from an offset on (SO_PEEK_OFF)"
	} else if rec.Protocol != unix.IPPROTO_TCP {
		why = "it is one of MPTCP"
	} else if !s.held[own] {
		s.c.Block(sub.PID, passing{cli.WithHint(fmt.Errorf("fd %d is %s, which can't be kept as long as it is not established or only in flight", sub.FD, Describe(sub)), hint)})
		return nil
	}
	if why != "" {
		s.c.Block(sub.PID, cli.WithHint(fmt.Errorf("fd %d is %s, which can't be kept: %s", sub.FD, Describe(sub), why), hint))
		return nil
	}
	ours, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	snap, err := s.c.keeper.Read(ours)
	if err != nil {
		return fmt.Errorf("keep it: %w", err)
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
	return &repair.Hold{Table: HoldTable(c.Keep.Checkpoint), Timeout: c.Keep.Timeout,
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

package files

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// ptmxKind: masters of pseudoterminals, see pty(7) and ioctl_tty(2). A master has one
// description for life, because whoever opens /dev/ptmx gets a new pair. The state of the
// pair travels with it; whoever has its other side open has a TTY, which finds the pair by
// its device number.
var ptmxKind = Kind{
	Type: record.TypePTMX,
	Save: func(c *Collector) Saver {
		p := &ptmxs{c: c, open: map[uint64]bool{}, patience: searchLimit}
		return Saver{Look: p.look, Match: isPTMX, Collect: p.collect}
	},
	Restore: func(r *Restorer) Maker {
		m := &ptyMaker{Restorer: r, pairs: map[uint64]*pty{}}
		return Maker{Kind: object.Kind{Check: r.checkPTMX, Here: r.ptmxHere, Make: m.make}, Thing: ptmxThing, State: m}
	},
}

const (
	ptmxPath = "/dev/ptmx"
	ptsDir   = "/dev/pts/"
)

func isPTMX(s *Subject) bool {
	return isMode(s, unix.S_IFCHR) && s.Stat.Rdev == unix.Mkdev(ownTTYMajor, ptmxMinor)
}

// lineOfMaster returns the device number of the other side of a master.
func lineOfMaster(s *Subject) (line uint64, ok bool) {
	if !isPTMX(s) {
		return 0, false
	}
	text, _ := s.Info.Get("tty-index")
	n, err := strconv.ParseUint(text, 10, 20)
	return unix.Mkdev(ptsMajor, uint32(n)), err == nil
}

// MasterIndex returns the number of the pseudoterminal of which a descriptor is the master.
func MasterIndex(s *Subject) (index int, ok bool) {
	line, ok := lineOfMaster(s)
	return int(unix.Minor(line)), ok
}

// TerminalIndex returns that of which a descriptor is the other side.
func TerminalIndex(s *Subject) (index int, ok bool) {
	return int(unix.Minor(s.Stat.Rdev)), isMode(s, unix.S_IFCHR) && unix.Major(s.Stat.Rdev) == ptsMajor
}

// ptmxs is what a checkpoint knows about masters.
type ptmxs struct {
	c    *Collector
	open map[uint64]bool // device numbers of terminals that the tree has open
	// holders are processes outside the tree by the terminal they have open; nil until
	// they are needed
	holders  map[string]int
	unseen   int           // processes that were not looked at
	patience time.Duration // for that search
}

func (p *ptmxs) look(s *Subject) {
	if s.Stat.Mode&unix.S_IFMT == unix.S_IFCHR && unix.Major(s.Stat.Rdev) == ptsMajor {
		p.open[s.Stat.Rdev] = true
	}
}

func (p *ptmxs) collect(s *Subject) (uint64, error) {
	c := p.c
	if c.blockPath(s) {
		return 0, nil
	}
	f, err := borrow(s)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPTN)
	if err != nil {
		return 0, os.NewSyscallError("TIOCGPTN", err)
	}
	line := unix.Mkdev(ptsMajor, uint32(n))
	ident := ident(record.TypePTMX, s.Stat.Dev^s.Stat.Ino, line)
	rec := record.PTMX{Object: record.Object{ID: c.NewID(), Ident: ident}, Path: s.Target, Number: n, Slave: record.Stat{Path: ptsDir + strconv.Itoa(n)}}
	if err := readPTY(f, &rec); err != nil {
		return 0, err
	}
	if why := p.obstacle(s, f, &rec, line); why != nil {
		c.Block(s.PID, why)
		return 0, nil
	}
	if c.blockWaiting(s, f) {
		return 0, nil
	}
	return rec.ID, c.Emit(record.TypePTMX, &rec)
}

// obstacle says why a master can't be saved.
func (p *ptmxs) obstacle(s *Subject, f *os.File, rec *record.PTMX, line uint64) error {
	name := fmt.Sprintf("fd %d is the master side of the terminal %s", s.FD, rec.Slave.Path)
	st, err := statDevice(rec.Slave.Path)
	if in, e := isOfPTS(f); err != nil || st.Rdev != line || e != nil || !in {
		return cli.WithHint(fmt.Errorf("%s, which is not found there; that can't be saved", name), "run ckpt-collect where the devpts file system is that the program uses, mounted at /dev/pts")
	}
	rec.Slave.Dev, rec.Slave.Ino, rec.Slave.Mode, rec.Slave.UID, rec.Slave.GID = st.Dev, st.Ino, st.Mode, st.Uid, st.Gid
	switch {
	case s.Info.Flags&unix.O_ACCMODE != unix.O_RDWR:
		return fmt.Errorf("%s, opened to be only read or only written, which can't be saved", name)
	case rec.SID != 0 && !p.c.InTree(rec.SID):
		return cli.WithHint(fmt.Errorf("%s, which controls session %d, whose leader is not being saved", name, rec.SID), "save a tree that has the leader, too")
	case rec.HungUp || p.open[line] || rec.SID != 0:
		return nil
	}
	pid, err := p.holder(rec.Slave.Path)
	if err != nil {
		return fmt.Errorf("%s, %w", name, err)
	}
	if pid != 0 {
		return cli.WithHint(fmt.Errorf("%s, which only %s has open, which is not being saved", name, proc.Usual.Named(pid)), "save a tree that has both")
	}
	return nil // nobody has opened it yet
}

// holder returns a process outside the tree that has a terminal open, 0 if there is none.
// It searches once for all terminals, because there may be thousands.
func (p *ptmxs) holder(path string) (pid int, err error) {
	if p.holders == nil {
		p.holders = map[string]int{}
		p.unseen = p.c.eachOutside(p.patience, func(pid, _ int, link string) {
			if strings.HasPrefix(link, ptsDir) {
				p.holders[link] = pid
			}
		})
	}
	if pid = p.holders[path]; pid == 0 && p.unseen > 0 {
		return 0, fmt.Errorf("which can't be saved: whether one of %d processes has it open can't be found out within %v", p.unseen, p.patience)
	}
	return pid, nil
}

// blockWaiting blocks a side of a pair in which bytes wait: they can be taken out, but
// not be looked at, and a program that runs on must still find them.
func (c *Collector) blockWaiting(s *Subject, f *os.File) bool {
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCINQ)
	if err != nil || n == 0 {
		return false
	}
	c.Block(s.PID, &unread{s.FD, s.Target, n})
	return true
}

// unread: bytes wait in a terminal.
type unread struct {
	fd    int
	path  string
	bytes int
}

func (u *unread) Error() string {
	return fmt.Sprintf("fd %d is a terminal (%s) with %d bytes waiting to be read, which can't be saved", u.fd, u.path, u.bytes)
}

func (u *unread) Hint() string { return "try again when the program has read them" }

// Passes says that the program may read them as soon as it runs.
func (u *unread) Passes() bool { return true }

// readPTY reads the state of a pair.
func readPTY(f *os.File, rec *record.PTMX) error {
	fd := int(f.Fd())
	var err error
	if rec.Termios, _, _, err = sys.GetTermios(fd); err != nil {
		return err
	}
	if rec.Fixed, err = sys.LockedTermios(fd); err != nil {
		return err
	}
	if bytes.Count(rec.Fixed, []byte{0}) == len(rec.Fixed) {
		rec.Fixed = nil
	}
	ws, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return os.NewSyscallError("TIOCGWINSZ", err)
	}
	rec.Rows, rec.Cols, rec.XPixel, rec.YPixel = ws.Row, ws.Col, ws.Xpixel, ws.Ypixel
	for _, b := range []struct {
		what    string
		request uint
		is      *bool
	}{{"TIOCGPTLCK", unix.TIOCGPTLCK, &rec.Locked}, {"TIOCGPKT", unix.TIOCGPKT, &rec.Packet}} {
		n, err := unix.IoctlGetInt(fd, b.request)
		if err != nil {
			return os.NewSyscallError(b.what, err)
		}
		*b.is = n != 0
	}
	// ENOTTY: it is the controlling terminal of nobody.
	if n, err := unix.IoctlGetInt(fd, unix.TIOCGSID); err == nil && n > 0 {
		rec.SID = n
		if n, err = unix.IoctlGetInt(fd, unix.TIOCGPGRP); err == nil && n > 0 {
			rec.PGID = n
		}
	}
	hup := []unix.PollFd{{Fd: int32(fd)}}
	err = pollNow(hup)
	rec.HungUp = hup[0].Revents&unix.POLLHUP != 0
	return err
}

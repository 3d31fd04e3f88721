package files

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/object"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// ttyMajors are virtual consoles, /dev/tty and the console, serial lines, and
// the slaves of pseudoterminals; see Documentation/admin-guide/devices.txt.
var ttyMajors = []uint32{4, 5, 136, 137, 138, 139, 140, 141, 142, 143, 204, 229}

const (
	ptsMajor     = 136 // of the other sides of pseudoterminals, with 20 bits of minor numbers
	ownTTYMajor  = 5
	ownTTYMinor  = 0 // /dev/tty
	ptmxMinor    = 2 // of major 5
	ptyNumberMax = 1 << 20
)

// ttyKind: terminals. A restored program gets the terminal of ckpt-apply, unless the
// terminal is one side of a pair whose master is restored, too.
var ttyKind = Kind{
	Type: record.TypeTTY,
	Save: func(c *Collector) Saver {
		t := &ttys{c: c, inside: map[uint64]bool{}}
		return Saver{Look: t.look, Match: isTTY, Collect: t.collect}
	},
	Restore: func(r *Restorer) Maker {
		return Maker{Kind: object.Kind{Check: checkTTY, Make: r.makeTTY}, Thing: ttyThing}
	},
}

func isTTY(s *Subject) bool {
	return isMode(s, unix.S_IFCHR) && slices.Contains(ttyMajors, unix.Major(s.Stat.Rdev)) && !isPTMX(s)
}

// ttys is what a checkpoint knows about terminals.
type ttys struct {
	c      *Collector
	inside map[uint64]bool // device numbers of terminals whose masters are in the tree
}

func (t *ttys) look(s *Subject) {
	if line, ok := lineOfMaster(s); ok {
		t.inside[line] = true
	}
}

func (t *ttys) collect(s *Subject) (uint64, error) {
	rec := record.TTY{Object: record.Object{ID: t.c.NewID()}, Stat: statOf(s), Rdev: s.Stat.Rdev}
	line, inode := s.Stat.Rdev, s.Stat.Ino
	if s.FD >= 0 && s.Info.Flags&unix.O_PATH == 0 {
		f, err := borrow(s)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		if line == unix.Mkdev(ownTTYMajor, ownTTYMinor) {
			if n, err := unix.IoctlGetUint32(int(f.Fd()), unix.TIOCGDEV); err == nil {
				line, inode = uint64(n), uint64(n)<<32|inode // one file, but not one terminal for all sessions
			}
		}
		// A terminal that was hung up no longer has settings.
		rec.Termios, rec.Rows, rec.Cols, _ = sys.GetTermios(int(f.Fd()))
		if t.inside[line] {
			n, _ := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGEXCL)
			if rec.Exclusive = n != 0; t.c.blockWaiting(s, f) {
				return 0, nil
			}
		}
	}
	rec.Ident = ident(record.TypeTTY, s.Stat.Dev, inode)
	if t.inside[line] {
		rec.Line = line
	} else {
		t.c.noteOutside(s, rec.Path, "", 0)
	}
	return rec.ID, t.c.Emit(record.TypeTTY, &rec)
}

// checkTTY checks the record only. Whether there is a terminal is checked where
// replacements are decided.
func checkTTY(rec *stream.Record) []error {
	t, err := decode[record.TTY](rec)
	if err == nil {
		err = checkPath(t.Path)
	}
	if err == nil && t.Line != 0 && unix.Major(t.Line) != ptsMajor {
		err = fmt.Errorf("%w: the device %d:%d is no pseudoterminal", stream.ErrCorrupt, unix.Major(t.Line), unix.Minor(t.Line))
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

func ttyThing(rec *stream.Record) (*Thing, error) {
	t, err := decode[record.TTY](rec)
	if err != nil {
		return nil, err
	}
	if t.Line != 0 {
		return &Thing{Name: t.Path}, checkPath(t.Path)
	}
	return &Thing{Name: t.Path, TTY: true, Loose: "a terminal that is"}, checkPath(t.Path)
}

func (r *Restorer) makeTTY(rec *stream.Record) (object.Object, error) {
	t, err := decode[record.TTY](rec)
	if err != nil {
		return nil, err
	}
	if t.Line != 0 {
		p, err := r.ptys().pty(t.Line)
		return &ptySlave{pty: p, exclusive: t.Exclusive}, err
	}
	if len(t.Termios) == sys.Termios2Bytes {
		r.Termios = t.Termios
	}
	return terminal{}, nil
}

// ownTerminal is the controlling terminal of whoever opens it, see tty(4).
const ownTerminal = "/dev/tty"

// terminal is a restored terminal, ckpt-apply's own.
type terminal struct{ object.Base }

func (terminal) Open(flags int) (*os.File, error) { return open(ownTerminal, flags|unix.O_NOCTTY) }

// hasTerminal reports whether ckpt-apply has a controlling terminal.
func hasTerminal() bool {
	f, err := open(ownTerminal, os.O_RDWR|unix.O_NOCTTY)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

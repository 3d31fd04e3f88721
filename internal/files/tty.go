package files

import (
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

const ptmxMinor = 2 // of major 5; a master can't be replaced by a terminal

// ttyKind: terminals. A restored program gets the terminal of ckpt-apply.
var ttyKind = Kind{
	Type: record.TypeTTY,
	Save: func(c *Collector) Saver { return Saver{Match: isTTY, Collect: c.tty} },
	Restore: func(r *Restorer) Maker {
		return Maker{Kind: object.Kind{Check: checkTTY, Make: r.makeTTY}, Thing: ttyThing}
	},
}

func isTTY(s *Subject) bool {
	major, minor := unix.Major(s.Stat.Rdev), unix.Minor(s.Stat.Rdev)
	return isMode(s, unix.S_IFCHR) && slices.Contains(ttyMajors, major) && (major != 5 || minor != ptmxMinor)
}

func (c *Collector) tty(s *Subject) (uint64, error) {
	t := record.TTY{Object: record.Object{ID: c.NewID(), Ident: ident(record.TypeTTY, s.Stat.Dev, s.Stat.Ino)},
		Stat: statOf(s), Rdev: s.Stat.Rdev}
	if s.FD >= 0 && s.Info.Flags&unix.O_PATH == 0 {
		f, err := borrow(s)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		// A terminal that was hung up no longer has settings.
		t.Termios, t.Rows, t.Cols, _ = sys.GetTermios(int(f.Fd()))
	}
	c.noteOutside(s, t.Path, "", 0)
	return t.ID, c.Emit(record.TypeTTY, &t)
}

// checkTTY checks the record only. Whether there is a terminal is checked where
// replacements are decided.
func checkTTY(rec *stream.Record) []error {
	t, err := decode[record.TTY](rec)
	if err == nil {
		err = checkPath(t.Path)
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

func ttyThing(rec *stream.Record) (*Thing, error) {
	t, err := pathThing(rec)
	if err != nil {
		return nil, err
	}
	t.TTY, t.Loose = true, "a terminal that is"
	return t, nil
}

func (r *Restorer) makeTTY(rec *stream.Record) (object.Object, error) {
	t, err := decode[record.TTY](rec)
	if err != nil {
		return nil, err
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

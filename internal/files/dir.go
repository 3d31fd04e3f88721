package files

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/object"
	"ckpt/stream"
	"ckpt/stream/record"
)

// dirKind: folders. One that was deleted is empty for ever, and nothing leads to it.
var dirKind = Kind{
	Type: record.TypeDir,
	Save: func(c *Collector) Saver {
		return Saver{Match: func(s *Subject) bool { return isMode(s, unix.S_IFDIR) }, Collect: c.dir}
	},
	Restore: func(r *Restorer) Maker {
		return Maker{Kind: object.Kind{Check: r.checkDir, Here: r.dirHere, Make: r.makeDir}, Thing: pathThing}
	},
}

func (c *Collector) dir(s *Subject) (uint64, error) {
	there, known := c.isThere(s)
	if !known {
		return 0, nil
	}
	d := record.Dir{Object: record.Object{ID: c.NewID(), Ident: ident(record.TypeDir, s.Stat.Dev, s.Stat.Ino)}, Stat: statOf(s)}
	if !there {
		if s.Stat.Nlink != 0 {
			c.Block(s.PID, fmt.Errorf("%s is the folder %s, to which no path leads any more and which was not deleted, and which can't be saved", where(s), s.Target))
			return 0, nil
		}
		d.Deleted, d.Path = true, strings.TrimSuffix(s.Target, deletedSuffix)
		var err error
		if d.Xattrs, err = xattrsOf(s.Link); err != nil {
			return 0, err
		}
	}
	return d.ID, c.Emit(record.TypeDir, &d)
}

func (r *Restorer) checkDir(rec *stream.Record) []error {
	d, err := decode[record.Dir](rec)
	if err == nil && d.Deleted {
		err = checkDeleted(&d.Stat, d.Xattrs, unix.S_IFDIR)
	}
	if err != nil {
		return []error{err}
	}
	if d.Deleted {
		return nil
	}
	return r.dir(d).check()
}

func (r *Restorer) dirHere(rec *stream.Record) []error {
	d, err := decode[record.Dir](rec)
	if err != nil || !d.Deleted {
		return nil
	}
	return r.deletedHere(&d.Stat)
}

func (r *Restorer) makeDir(rec *stream.Record) (object.Object, error) {
	d, err := decode[record.Dir](rec)
	if err != nil {
		return nil, err
	}
	if d.Deleted {
		return r.newNameOff(&d.Stat, d.Xattrs)
	}
	return r.dir(d), nil
}

func (r *Restorer) dir(d *record.Dir) *named {
	const what = "a folder"
	return r.named(d.Objref, &d.Stat, what, isType(d.Path, unix.S_IFDIR, what))
}

// where names a subject for a message.
func where(s *Subject) string {
	if s.FD >= 0 {
		return fmt.Sprintf("fd %d", s.FD)
	}
	return filepath.Base(s.Link)
}

// isType returns a judge for named: is what the path leads to still of this type?
func isType(path string, mode uint32, what string) func(int, *unix.Stat_t) error {
	return func(_ int, st *unix.Stat_t) error {
		if st.Mode&unix.S_IFMT != mode {
			return fmt.Errorf("%s was %s and no longer is", path, what)
		}
		return nil
	}
}

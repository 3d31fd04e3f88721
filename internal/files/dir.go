package files

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ckpt/stream"
	"ckpt/stream/record"
)

// dirKind: folders.
var dirKind = Kind{
	Type: record.TypeDir,
	Save: func(c *Collector) Saver {
		return Saver{Match: func(s *Subject) bool { return isMode(s, unix.S_IFDIR) }, Collect: c.dir}
	},
	Restore: func(r *Restorer) Maker { return namedMaker(r.dir) },
}

func (c *Collector) dir(s *Subject) (uint64, error) {
	there, known := c.isThere(s)
	if !known {
		return 0, nil
	}
	if !there {
		c.Block(s.PID, fmt.Errorf("%s is a folder that was deleted (%s), which can't be saved", where(s), s.Target))
		return 0, nil
	}
	d := record.Dir{Object: record.Object{ID: c.NewID(), Ident: ident(record.TypeDir, s.Stat.Dev, s.Stat.Ino)}, Stat: statOf(s)}
	return d.ID, c.Emit(record.TypeDir, &d)
}

func (r *Restorer) dir(rec *stream.Record) (*named, error) {
	d, err := decode[record.Dir](rec)
	if err != nil {
		return nil, err
	}
	const what = "a folder"
	return r.named(d.Objref, &d.Stat, what, isType(d.Path, unix.S_IFDIR, what)), nil
}

// where names a subject for a message.
func where(s *Subject) string {
	if s.FD >= 0 {
		return fmt.Sprintf("fd %d", s.FD)
	}
	return filepath.Base(s.Link)
}

// isType returns a judge for named: is what the path leads to still of this type?
func isType(path string, mode uint32, what string) func(*os.File, *unix.Stat_t) error {
	return func(_ *os.File, st *unix.Stat_t) error {
		if st.Mode&unix.S_IFMT != mode {
			return fmt.Errorf("%s was %s and no longer is", path, what)
		}
		return nil
	}
}

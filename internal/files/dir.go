package files

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ckpt/stream"
)

// dirKind: folders.
var dirKind = Kind{
	Type:  stream.TypeDir,
	Match: func(s *Subject) bool { return isMode(s, unix.S_IFDIR) },
	Collect: func(c *Collector, s *Subject) (uint64, error) {
		if !leadsTo(s.Target, &s.Stat) {
			c.Block(s.PID, fmt.Errorf("%s is a folder that was deleted (%s), which can't be saved", where(s), s.Target))
			return 0, nil
		}
		d := stream.Dir{Object: stream.Object{ID: c.NewID(), Ident: ident(stream.TypeDir, s.Stat.Dev, s.Stat.Ino)}, Stat: statOf(s)}
		return d.ID, c.Emit(stream.TypeDir, &d)
	},
	Check: func(r *Restorer, rec *stream.Record) []error {
		d, err := decode[stream.Dir](rec)
		if err != nil {
			return []error{err}
		}
		return r.checkPath(d.Path, unix.S_IFDIR, "a folder")
	},
	Restore: func(_ *Restorer, rec *stream.Record) (Inode, error) {
		d, err := decode[stream.Dir](rec)
		if err != nil {
			return nil, err
		}
		return &named{d.Path}, nil
	},
}

// named is anything with a path that is opened by it.
type named struct{ path string }

func (n *named) Open(flags int) (*os.File, error) { return open(n.path, flags|unix.O_NOCTTY) }
func (n *named) Close() error                     { return nil }

// where names a subject for a message.
func where(s *Subject) string {
	if s.FD >= 0 {
		return fmt.Sprintf("fd %d", s.FD)
	}
	return filepath.Base(s.Link)
}

// checkPath makes sure that a path leads to a file of the same type.
func (r *Restorer) checkPath(path string, mode uint32, what string) []error {
	if !filepath.IsAbs(path) {
		return []error{fmt.Errorf("%w: path %q", stream.ErrCorrupt, path)}
	}
	if r.Paper {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return []error{fmt.Errorf("%s, %s the program used, is not there: %w", path, what, err)}
	}
	if st.Mode&unix.S_IFMT != mode {
		return []error{fmt.Errorf("%s was %s and is none now", path, what)}
	}
	return nil
}

package files

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ckpt/stream"
	"ckpt/stream/record"
)

// opathKind: symbolic links, names of sockets, and devices by O_PATH (see open(2)): they are
// looked up again, and nothing is opened. Files, folders and
// terminals by O_PATH are of their own kinds.
var opathKind = Kind{
	Type:    record.TypeOPath,
	Save:    func(c *Collector) Saver { return Saver{Match: isOPath, Collect: c.opath} },
	Restore: func(r *Restorer) Maker { return namedMaker(r.opath) },
}

// opathTypes are what the kind takes, and what people call them.
var opathTypes = map[uint32]string{unix.S_IFLNK: "a symbolic link", unix.S_IFSOCK: "a socket", unix.S_IFBLK: "a block device", unix.S_IFCHR: "a device"}

func isOPath(s *Subject) bool {
	mode := s.Stat.Mode & unix.S_IFMT
	dev, err := procDev()
	return s.Info.Flags&unix.O_PATH != 0 && filepath.IsAbs(s.Target) && opathTypes[mode] != "" &&
		(mode != unix.S_IFCHR || !isStateless(s.Stat.Rdev) && !isTTY(s)) && err == nil && s.Stat.Dev != dev
}

func (c *Collector) opath(s *Subject) (uint64, error) {
	there, known := c.isThere(s)
	if !known {
		return 0, nil
	}
	if !there {
		c.Block(s.PID, fmt.Errorf("%s is an O_PATH descriptor of %s that was deleted (%s), which can't be saved", where(s), opathTypes[s.Stat.Mode&unix.S_IFMT], s.Target))
		return 0, nil
	}
	o := record.OPath{Object: record.Object{ID: c.NewID(), Ident: ident(record.TypeOPath, s.Stat.Dev, s.Stat.Ino)}, Stat: statOf(s), Rdev: s.Stat.Rdev}
	return o.ID, c.Emit(record.TypeOPath, &o)
}

func (r *Restorer) opath(rec *stream.Record) (*named, error) {
	o, err := decode[record.OPath](rec)
	if err != nil {
		return nil, err
	}
	mode := o.Mode & unix.S_IFMT
	what := opathTypes[mode]
	if what == "" {
		return nil, fmt.Errorf("%w: %s with mode %#o is open by O_PATH alone", stream.ErrCorrupt, o.Path, o.Mode)
	}
	judge := func(p int, st *unix.Stat_t) error {
		if err := isType(o.Path, mode, what)(p, st); err != nil || st.Rdev == o.Rdev {
			return err
		}
		return fmt.Errorf("%s was device %d:%d and is %d:%d", o.Path, unix.Major(o.Rdev), unix.Minor(o.Rdev), unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	n := r.named(o.Objref, &o.Stat, what, judge)
	n.onlyPath = true
	return n, nil
}

package files

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/stream"
	"ckpt/stream/record"
)

// memMinors are the devices of major 1 that keep no state: null, zero, full,
// random, urandom; see Documentation/admin-guide/devices.txt.
var memMinors = []uint32{3, 5, 7, 8, 9}

const memMajor = 1

// charDevKind: devices that behave the same for everyone who opens them.
var charDevKind = Kind{
	Type: record.TypeCharDev,
	Save: func(c *Collector) Saver {
		return Saver{Match: func(s *Subject) bool { return isMode(s, unix.S_IFCHR) && isStateless(s.Stat.Rdev) }, Collect: c.charDev}
	},
	Restore: func(r *Restorer) Maker { return namedMaker(r.charDev) },
}

func (c *Collector) charDev(s *Subject) (uint64, error) {
	d := record.CharDev{Object: record.Object{ID: c.NewID(), Ident: ident(record.TypeCharDev, s.Stat.Dev, s.Stat.Ino)},
		Stat: statOf(s), Rdev: s.Stat.Rdev}
	return d.ID, c.Emit(record.TypeCharDev, &d)
}

func isStateless(rdev uint64) bool {
	return unix.Major(rdev) == memMajor && slices.Contains(memMinors, unix.Minor(rdev))
}

func (r *Restorer) charDev(rec *stream.Record) (*named, error) {
	d, err := decode[record.CharDev](rec)
	if err != nil {
		return nil, err
	}
	if !isStateless(d.Rdev) { // opening another may have side effects
		return nil, fmt.Errorf("%w: %s is device %d:%d, which keeps a state", stream.ErrCorrupt, d.Path, unix.Major(d.Rdev), unix.Minor(d.Rdev))
	}
	const what = "a device"
	judge := func(p int, st *unix.Stat_t) error {
		if err := isType(d.Path, unix.S_IFCHR, what)(p, st); err != nil || st.Rdev == d.Rdev {
			return err
		}
		return fmt.Errorf("%s was device %d:%d and is %d:%d", d.Path, unix.Major(d.Rdev), unix.Minor(d.Rdev), unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	return r.named(d.Objref, &d.Stat, what, judge), nil
}

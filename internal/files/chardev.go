package files

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/stream"
)

// memMinors are the devices of major 1 that keep no state: null, zero, full,
// random, urandom; see Documentation/admin-guide/devices.txt.
var memMinors = []uint32{3, 5, 7, 8, 9}

const memMajor = 1

// charDevKind: devices that are the same whoever opens them.
var charDevKind = Kind{
	Type: stream.TypeCharDev,
	Match: func(s *Subject) bool {
		return isMode(s, unix.S_IFCHR) && unix.Major(s.Stat.Rdev) == memMajor && slices.Contains(memMinors, unix.Minor(s.Stat.Rdev))
	},
	Collect: func(c *Collector, s *Subject) (uint64, error) {
		d := stream.CharDev{Object: stream.Object{ID: c.NewID(), Ident: ident(stream.TypeCharDev, s.Stat.Dev, s.Stat.Ino)},
			Stat: statOf(s), Rdev: s.Stat.Rdev}
		return d.ID, c.Emit(stream.TypeCharDev, &d)
	},
	Check: func(r *Restorer, rec *stream.Record) []error {
		d, err := decode[stream.CharDev](rec)
		if err != nil {
			return []error{err}
		}
		if errs := r.checkPath(d.Path, unix.S_IFCHR, "a device"); errs != nil {
			return errs
		}
		var st unix.Stat_t
		if err := unix.Stat(d.Path, &st); err == nil && !r.Paper && st.Rdev != d.Rdev {
			return []error{fmt.Errorf("%s was device %d:%d and is %d:%d", d.Path, unix.Major(d.Rdev), unix.Minor(d.Rdev), unix.Major(st.Rdev), unix.Minor(st.Rdev))}
		}
		return nil
	},
	Restore: func(_ *Restorer, rec *stream.Record) (Inode, error) {
		d, err := decode[stream.CharDev](rec)
		if err != nil {
			return nil, err
		}
		return &named{d.Path}, nil
	},
}

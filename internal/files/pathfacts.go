package files

import (
	"path/filepath"

	"golang.org/x/sys/unix"

	"ckpt/internal/parallel"
	"ckpt/stream/record"
)

// pathFacts is what takes walks to a subject and to its path.
type pathFacts struct {
	handle *record.Handle
	there  bool // see isThere
	err    error
	barred bool
}

// pathsAhead reads that on all CPUs, for the kinds that will ask.
func (c *Collector) pathsAhead(subjects []*Subject) {
	var mine []*Subject
	for _, s := range subjects {
		if s.FUSE != "" || !filepath.IsAbs(s.Target) {
			continue
		}
		if k := c.kind(s); k != nil && k.Paths {
			mine = append(mine, s)
		}
	}
	if len(mine) < 2 {
		return
	}
	if _, err := c.ownMounts(); err != nil { // they are only read then
		return
	}
	next := func(i int) { c.Looking(mine[i].PID, mine[i].FD) }
	_ = parallel.EachNamed(len(mine), next, func(i int) error {
		mine[i].ahead = c.factsOf(mine[i])
		return nil
	})
}

func (c *Collector) factsOf(s *Subject) *pathFacts {
	f := &pathFacts{handle: handleAt(unix.AT_FDCWD, s.Link, unix.AT_SYMLINK_FOLLOW), barred: isBarred(s)}
	f.there, f.err = c.leadsTo(s.Target, &s.Stat)
	return f
}

// leads reports whether the path of a subject leads to it, see leadsTo.
func (c *Collector) leads(s *Subject) (bool, error) {
	if s.ahead != nil {
		return s.ahead.there, s.ahead.err
	}
	return c.leadsTo(s.Target, &s.Stat)
}

// handle returns the file handle of a subject, nil if there is none.
func (s *Subject) handle() *record.Handle {
	if s.ahead != nil {
		return s.ahead.handle
	}
	return handleAt(unix.AT_FDCWD, s.Link, unix.AT_SYMLINK_FOLLOW)
}

// barred reports whether a subject has a path to a file that this user may not open.
func (s *Subject) barred() bool {
	if s.ahead != nil {
		return s.ahead.barred
	}
	return isBarred(s)
}

// stat fills in s.Stat, by the call that tells the time of birth, too.
func (s *Subject) stat() error {
	var x unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, s.Link, unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &x); err != nil {
		return err
	}
	s.Stat = unix.Stat_t{Dev: unix.Mkdev(x.Dev_major, x.Dev_minor), Ino: x.Ino, Mode: uint32(x.Mode), Uid: x.Uid, Gid: x.Gid,
		Rdev: unix.Mkdev(x.Rdev_major, x.Rdev_minor), Size: int64(x.Size), Blocks: int64(x.Blocks),
		Atim: timespec(x.Atime), Mtim: timespec(x.Mtime), Ctim: timespec(x.Ctime)}
	setSized(&s.Stat.Nlink, x.Nlink)
	setSized(&s.Stat.Blksize, x.Blksize)
	s.birth = new(int64)
	*s.birth = birthIn(&x)
	return nil
}

func timespec(t unix.StatxTimestamp) unix.Timespec {
	return unix.Timespec{Sec: t.Sec, Nsec: int64(t.Nsec)}
}

// setSized sets a field whose size depends on the CPU.
func setSized[T ~int32 | ~int64 | ~uint32 | ~uint64](field *T, n uint32) { *field = T(n) }

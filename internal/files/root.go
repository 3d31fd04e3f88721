package files

import (
	"os"

	"golang.org/x/sys/unix"

	"ckpt/stream/record"
)

// Mounts is the mount namespace of the tree, if that is another than ours.
type Mounts interface {
	// Root is its root folder, open with O_PATH.
	Root() *os.File
	// Find opens what a path leads to on a mount with a number, below all that is mounted
	// over it.
	Find(mount int, path string) (*os.File, error)
}

// mounted is where paths of the tree are walked; nil: where we are.
var mounted Mounts

// UseMounts has all paths of the tree looked up in a mount namespace, or if nil in ours.
func UseMounts(m Mounts) { mounted = m }

// openFromRoot is openat2(2) of an absolute path in the tree's mount namespace.
func openFromRoot(path string, how *unix.OpenHow) (int, error) {
	if mounted == nil {
		return unix.Openat2(unix.AT_FDCWD, path, how)
	}
	within := *how
	within.Resolve |= unix.RESOLVE_IN_ROOT
	return unix.Openat2(int(mounted.Root().Fd()), path, &within)
}

// openDevice opens a path of the tree with O_PATH, which opens no device.
func openDevice(path string) (*os.File, error) {
	fd, err := openFromRoot(path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// statDevice is stat(2) of such a path.
func statDevice(path string) (st unix.Stat_t, err error) {
	f, err := openDevice(path)
	if err != nil {
		return st, err
	}
	defer f.Close()
	return st, unix.Fstat(int(f.Fd()), &st)
}

// openPlaced opens the path of a record with O_PATH, where that is to be looked up.
func openPlaced(st *record.Stat, how *unix.OpenHow) (int, error) {
	switch {
	case mounted != nil && st.Mount != 0:
		f, err := mounted.Find(st.Mount, st.Path)
		if err != nil {
			return -1, err
		}
		defer f.Close()
		return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	case st.Host:
		return unix.Openat2(unix.AT_FDCWD, st.Path, how)
	}
	return openFromRoot(st.Path, how)
}

// whereabouts say where the path of a subject is to be looked up.
type whereabouts struct {
	known bool
	mount int
	host  bool
}

// place finds out where the path of a subject leads to it, if not from the root of the tree's
// mount namespace: on a mount below others, or where we are.
func (s *Subject) place() whereabouts {
	if mounted == nil || s.placed.known {
		return s.placed
	}
	s.placed.known = true
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | resolveCached}
	if s.isAt(&record.Stat{Path: s.Target}, how) {
		return s.placed
	}
	st, err := quietStat(unix.AT_FDCWD, s.Link, unix.STATX_MNT_ID)
	if err == nil && st.Mask&unix.STATX_MNT_ID != 0 && s.isAt(&record.Stat{Path: s.Target, Mount: int(st.Mnt_id)}, how) {
		s.placed.mount = int(st.Mnt_id)
	} else if s.isAt(&record.Stat{Path: s.Target, Host: true}, how) {
		s.placed.host = true
	}
	return s.placed
}

// isAt reports whether a path leads to the subject.
func (s *Subject) isAt(st *record.Stat, how *unix.OpenHow) bool {
	fd, err := openPlaced(st, how)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	now, err := quietStat(fd, "", unix.STATX_INO)
	return err == nil && unix.Mkdev(now.Dev_major, now.Dev_minor) == s.Stat.Dev && now.Ino == s.Stat.Ino
}

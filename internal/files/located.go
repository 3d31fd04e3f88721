package files

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/ends"
	"ckpt/internal/object"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// User is a task that uses a file with a path; of several, the one with the
// fewest rights.
type User struct {
	PID         int
	Comm        string
	Creds       *record.Creds
	Read, Write bool // whether its descriptions and mappings do
}

func (u *User) identity() *sys.FSIdentity {
	c := u.Creds
	return &sys.FSIdentity{UID: c.UID[3], GID: c.GID[3], Groups: c.Groups, Caps: c.Eff}
}

// named is an object with a path. We may have more rights than the program, and
// the program may change what its paths lead to at any time. So a path is walked
// once, without symbolic links; the file found is checked by that descriptor and
// opened through it. Only the very file that was open is opened with our rights,
// any other file with those of the program. What the check found may be kept open and
// opened through that (see found), which no path leads elsewhere.
type named struct {
	object.Base
	r      *Restorer
	objref uint64
	*record.Stat
	what string // for messages: "a folder"
	// onlyPath: it is never opened but by O_PATH.
	onlyPath bool
	// judge says what is wrong with the file that was found, of which p is an O_PATH
	// descriptor.
	judge func(p int, st *unix.Stat_t) error
	// found is what the check found, if that is kept.
	found *found
}

func (r *Restorer) named(objref uint64, st *record.Stat, what string, judge func(int, *unix.Stat_t) error) *named {
	return &named{r: r, objref: objref, Stat: st, what: what, judge: judge}
}

// namedMaker is the Maker of a kind that has no state but its path.
func namedMaker(find func(*stream.Record) (*named, error)) Maker {
	return Maker{
		Kind: object.Kind{
			Check: func(rec *stream.Record) []error {
				n, err := find(rec)
				if err != nil {
					return []error{err}
				}
				return n.check()
			},
			Make: func(rec *stream.Record) (object.Object, error) {
				n, err := find(rec)
				if err != nil {
					return nil, err
				}
				return n, nil
			},
		},
		Thing: pathThing,
	}
}

// pathThing is the Thing of a kind that is named by its path.
func pathThing(rec *stream.Record) (*Thing, error) {
	var o struct {
		Path string `cbor:"path"`
	}
	if err := rec.Decode(&o); err != nil {
		return nil, err
	}
	return &Thing{Name: o.Path}, checkPath(o.Path)
}

// Open opens it again.
func (n *named) Open(flags int) (*os.File, error) {
	fd, err := n.openFD(flags)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), n.Path), nil
}

// openFD is Open where there may be thousands: an os.File is not for nothing.
func (n *named) openFD(flags int) (fd int, err error) {
	if fd = n.found.take(flags); fd >= 0 {
		return fd, nil
	}
	err = n.with(flags, func(p int, st *unix.Stat_t) error {
		fd, err = n.open(p, st, flags)
		return err
	})
	return fd, err
}

// check returns what stands in the way of opening it.
func (n *named) check() []error {
	if err := checkPath(n.Path); err != nil {
		return []error{err}
	}
	if n.r.Paper || n.found != nil {
		return nil
	}
	if err := n.with(0, n.allowed); err != nil {
		return []error{err}
	}
	return nil
}

// checkPath returns why a path can't have come from the kernel.
func checkPath(path string) error {
	if len(path) > unix.PathMax {
		return fmt.Errorf("%w: a path of %d bytes", stream.ErrCorrupt, len(path))
	}
	if !filepath.IsAbs(path) || strings.Contains(path, "\x00") {
		return fmt.Errorf("%w: path %q", stream.ErrCorrupt, path)
	}
	return nil
}

// with walks to the file and calls use with an O_PATH descriptor of it, with the
// rights it may be opened with.
func (n *named) with(flags int, use func(p int, st *unix.Stat_t) error) error {
	if n.found.good(flags) {
		var st unix.Stat_t
		if unix.Fstat(n.found.fd, &st) == nil && n.hasStat(&st) {
			if err := n.judge(n.found.fd, &st); err != nil {
				return err
			}
			return n.r.denied(use(n.found.fd, &st), n.Path, n.written())
		}
	}
	if !n.Follow {
		p, st, err := n.walk(flags)
		if errors.Is(err, unix.EACCES) {
			return cli.WithHint(fmt.Errorf("%s, which the program had open, can't be looked up: %w", n.Path, err),
				"run ckpt-apply as root, or as a user who may search all folders on that path (CAP_DAC_READ_SEARCH)")
		}
		if err != nil {
			return err
		}
		defer unix.Close(p)
		if n.isSame(p, st) {
			if err := n.judge(p, st); err != nil {
				return err
			}
			return n.r.denied(use(p, st), n.Path, n.written())
		}
	}
	u := n.r.Users[n.objref]
	if u == nil {
		return fmt.Errorf("%s, which the program had open, is another file now, and the image has no process with whose rights it could be opened", n.Path)
	}
	if err := n.r.become(u.identity(), n.Path); err != nil {
		return err
	}
	return sys.AsFS(u.identity(), func() error {
		p, st, err := n.walk(flags)
		if err == nil {
			defer unix.Close(p)
			err = n.judge(p, st)
		}
		if err == nil {
			if err = n.allowed(p, st); err == nil {
				err = use(p, st)
			}
		}
		if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
			return cli.WithHint(fmt.Errorf("%s is not the very file that was open, so it is opened with the rights of pid %d (%s), and user %d may not: %w",
				n.Path, u.PID, u.Comm, u.Creds.UID[3], err), "put back the file that was there, or let that user open this one")
		}
		return err
	})
}

// written reports whether the program writes to it.
func (n *named) written() bool {
	u := n.r.Users[n.objref]
	return u != nil && u.Write
}

// walk opens what is at the path. It follows symbolic links only if the record
// says so.
func (n *named) walk(flags int) (int, *unix.Stat_t, error) {
	how := unix.O_PATH
	if flags&unix.O_PATH != 0 {
		how |= flags & (unix.O_NOFOLLOW | unix.O_DIRECTORY)
	}
	if n.Mode&unix.S_IFMT == unix.S_IFLNK {
		how |= unix.O_NOFOLLOW
	}
	p, err := walkPlaced(n.Stat, how, n.Follow)
	switch {
	case errors.Is(err, unix.ELOOP) && !n.Follow:
		return -1, nil, cli.WithHint(fmt.Errorf("%s, %s the program had open, is reached by a symbolic link now%s", n.Path, n.what, firstLink(n.Path)),
			"a filter that sets follow in the record lets it be opened all the same, see ckpt(7)")
	case errors.Is(err, unix.EACCES):
		return -1, nil, err
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return -1, nil, n.gone(err)
	case err != nil:
		return -1, nil, fmt.Errorf("%s, which the program had open, can't be opened: %w", n.Path, err)
	}
	st := new(unix.Stat_t)
	if err := unix.Fstat(p, st); err != nil {
		unix.Close(p)
		return -1, nil, &os.PathError{Op: "fstat", Path: n.Path, Err: err}
	}
	return p, st, nil
}

// gone says that there is nothing at the path. What only descriptors lead to can be
// replaced.
func (n *named) gone(err error) error {
	who := "the program"
	if u := n.r.Users[n.objref]; u != nil {
		who = fmt.Sprintf("pid %d (%s)", u.PID, u.Comm)
	}
	hint := "put it back"
	if _, mapped := n.r.Mapped[n.objref]; !mapped && n.Mode&unix.S_IFMT != unix.S_IFDIR {
		hint += ", or restore with: " + ends.Flag(n.Path, "null") + ", or file:PATH, inherit:FD or close in place of null"
	}
	return cli.WithHint(fmt.Errorf("%s, which %s had open, is not there: %w", n.Path, who, err), hint)
}

// walk opens a path. It follows symbolic links only if follow says so.
func walk(path string, flags int, follow bool) (*os.File, error) {
	fd, err := walkFD(path, flags, follow)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// walkFD is walk without an os.File.
func walkFD(path string, flags int, follow bool) (int, error) {
	return walkPlaced(&record.Stat{Path: path}, flags, follow)
}

// walkPlaced is walkFD for the path of a record.
func walkPlaced(st *record.Stat, flags int, follow bool) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	if follow {
		how.Resolve = unix.RESOLVE_NO_MAGICLINKS
	}
	for {
		f, err := openPlaced(st, &how)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		return f, err
	}
}

// firstLink returns, for a message, the first part of a path that is a symbolic
// link; by now it may be gone again.
func firstLink(path string) string {
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		if st, err := os.Lstat(path[:i]); err == nil && st.Mode()&os.ModeSymlink != 0 {
			return ": " + path[:i]
		}
	}
	return ""
}

// isSame reports whether this is the very file that was open. The inode number
// alone does not tell, because it may have been reused; the birth time or the
// file handle does.
func (n *named) isSame(p int, st *unix.Stat_t) bool {
	if n.r.MadeDev != nil && n.r.MadeDev(st.Dev) {
		return true
	}
	if !n.hasStat(st) {
		return false
	}
	born, handle := birthOf(p, ""), handleAt(p, "", unix.AT_EMPTY_PATH)
	known := false
	if n.BtimeNS != 0 && born != 0 {
		if known = born == n.BtimeNS; !known {
			return false
		}
	}
	if n.FH != nil && handle != nil {
		known = handle.Type == n.FH.Type && bytes.Equal(handle.Bytes, n.FH.Bytes)
	}
	return known
}

// hasStat is isSame by what fstat(2) tells, which is not all.
func (n *named) hasStat(st *unix.Stat_t) bool {
	return st.Ino == n.Ino && st.Mode == n.Mode && st.Uid == n.UID && st.Gid == n.GID && (!n.r.SameBoot || st.Dev == n.Dev)
}

// allowed checks that our current identity may do with the file what its User
// does.
func (n *named) allowed(p int, st *unix.Stat_t) error {
	u := n.r.Users[n.objref]
	if u == nil {
		return nil
	}
	var mode uint32
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		mode |= unix.X_OK
	}
	if u.Read || st.Mode&unix.S_IFMT == unix.S_IFIFO {
		mode |= unix.R_OK
	}
	if u.Write || st.Mode&unix.S_IFMT == unix.S_IFIFO { // opened for both, see makeFifo
		mode |= unix.W_OK
	}
	err := unix.Faccessat(p, "", mode, unix.AT_EACCESS|unix.AT_EMPTY_PATH)
	if err != nil {
		return &os.PathError{Op: "open", Path: n.Path, Err: err}
	}
	return nil
}

// open opens the file behind p with these flags; p is an O_PATH descriptor opened
// with them.
func (n *named) open(p int, st *unix.Stat_t, flags int) (int, error) {
	if flags&unix.O_PATH != 0 {
		fd, err := unix.FcntlInt(uintptr(p), unix.F_DUPFD_CLOEXEC, 3)
		return fd, os.NewSyscallError("fcntl", err)
	}
	if n.onlyPath {
		return -1, fmt.Errorf("%w: %s is to be opened with flags %#o, without O_PATH", stream.ErrCorrupt, n.Path, flags)
	}
	flags |= unix.O_NOCTTY
	link := "/proc/self/fd/" + strconv.Itoa(p)
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return openFD(link+"/.", flags, n.Path)
	}
	fd, err := openFD(link, flags&^(unix.O_NOFOLLOW|unix.O_DIRECTORY), n.Path)
	if err != nil || flags&unix.O_NOFOLLOW == 0 {
		return fd, err
	}
	return notFollowing(fd, flags&^unix.O_DIRECTORY)
}

// notFollowing opens a descriptor's file again with O_NOFOLLOW, which fcntl(2) shows but
// can't set. A link in /proc can't be opened with that flag, so the file is
// opened by its handle.
func notFollowing(fd, flags int) (int, error) {
	h := handleAt(fd, "", unix.AT_EMPTY_PATH)
	if h == nil {
		return fd, nil
	}
	again, err := unix.OpenByHandleAt(fd, unix.NewFileHandle(h.Type, h.Bytes), flags|unix.O_CLOEXEC)
	if err != nil {
		return fd, nil
	}
	var a, b unix.Stat_t
	if unix.Fstat(fd, &a) != nil || unix.Fstat(again, &b) != nil || a.Dev != b.Dev || a.Ino != b.Ino {
		unix.Close(again)
		return fd, nil
	}
	unix.Close(fd)
	return again, nil
}

// birthOf returns a file's birth time in nanoseconds; 0 if its file system does
// not record it.
func birthOf(dirfd int, path string) int64 {
	var x unix.Statx_t
	flags := unix.AT_STATX_DONT_SYNC
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if unix.Statx(dirfd, path, flags, unix.STATX_BTIME, &x) != nil {
		return 0
	}
	return birthIn(&x)
}

func birthIn(x *unix.Statx_t) int64 {
	if x.Mask&unix.STATX_BTIME == 0 {
		return 0
	}
	return x.Btime.Sec*1e9 + int64(x.Btime.Nsec)
}

// handleAt returns a file handle; nil if the file system has none.
func handleAt(dirfd int, path string, flags int) *record.Handle {
	h, _, err := unix.NameToHandleAt(dirfd, path, flags)
	if err != nil {
		return nil
	}
	return &record.Handle{Type: h.Type(), Bytes: h.Bytes()}
}

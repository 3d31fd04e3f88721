package files

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/object"
	"ckpt/stream/record"
)

// Folders and FIFOs that were deleted are made with a name, which is removed at once:
// O_TMPFILE makes regular files only.

// nameOff is a folder or a FIFO whose name was removed.
type nameOff struct {
	object.Base
	f     *depot.File // O_PATH
	isDir bool
}

func (u *nameOff) Open(flags int) (*os.File, error) {
	if !u.isDir {
		return reopenKept(u.f, flags)
	}
	fd, err := u.f.Fd()
	if err != nil {
		return nil, err
	}
	return openNamed(fmt.Sprintf("/proc/self/fd/%d/.", fd), flags, u.f.Name())
}

func (u *nameOff) Close() error { return u.f.Close() }

// newNameOff makes a folder or FIFO where the one of the record was, or else in the folder
// for temporary files.
func (r *Restorer) newNameOff(st *record.Stat, attrs []record.Xattr) (*nameOff, error) {
	kind := st.Mode & unix.S_IFMT
	f, err := vanished(st.Path, kind, false)
	if err != nil {
		r.Note("%s was deleted and is restored in %s, because its own folder can't be used: %v", st.Path, os.TempDir(), err)
		f, err = vanished(filepath.Join(os.TempDir(), "x"), kind, true)
	}
	if err != nil {
		return nil, fmt.Errorf("make %s again, which was deleted: %w", st.Path, err)
	}
	u := &nameOff{isDir: kind == unix.S_IFDIR}
	if u.f, err = r.Depot.Keep(f); err != nil {
		return nil, err
	}
	if err := r.dress(u, st, attrs); err != nil {
		return nil, errors.Join(fmt.Errorf("make %s again, which was deleted: %w", st.Path, err), u.Close())
	}
	return u, nil
}

// dress gives it its owner, permissions, attributes and time.
func (r *Restorer) dress(u *nameOff, st *record.Stat, attrs []record.Xattr) error {
	f, err := u.Open(unix.O_RDONLY | unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer f.Close()
	ts := unix.NsecToTimespec(st.MtimeNS)
	return errors.Join(r.chown(f, st.UID, st.GID, st.Path), r.setExtras(f, st, attrs, 0),
		unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), []unix.Timespec{ts, ts}, 0))
}

// vanished makes a folder or a FIFO and removes its name, which is near the place of path.
// Folders above a folder that are gone are made with it, and go with it.
func vanished(path string, kind uint32, follow bool) (*os.File, error) {
	dir, below, err := nearest(filepath.Dir(path), follow)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if isKernelFS(dir) {
		return nil, fmt.Errorf("%s is on a file system of the kernel", dir.Name())
	}
	if kind == unix.S_IFIFO {
		return vanishFIFO(dir)
	}
	names := append(below, filepath.Base(path))
	names[0] = ".ckpt-" + rand.Text()
	return vanishFolder(dir, names)
}

// nearest opens the folder of a path, or the nearest one above it that is there, and returns
// what is missing below that.
func nearest(path string, follow bool) (dir *os.File, below []string, err error) {
	for {
		dir, err = walk(path, unix.O_PATH|unix.O_DIRECTORY, follow)
		if err == nil {
			return dir, below, nil
		}
		if path == "/" || !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			return nil, nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		below = slices.Insert(below, 0, filepath.Base(path))
		path = filepath.Dir(path)
	}
}

// vanishFolder makes folders in one another and removes all of them. Whoever may write to dir
// can put something else in the place of what was made; but what is returned is a folder that
// was removed, so there is nothing in it and never will be.
func vanishFolder(dir *os.File, names []string) (f *os.File, err error) {
	name, perm := names[0], uint32(0o700)
	if len(names) > 1 {
		perm = 0o711 // ".." leads through it
	}
	at := int(dir.Fd())
	if err := unix.Mkdirat(at, name, perm); err != nil {
		return nil, &os.PathError{Op: "make", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	fd, err := unix.Openat(at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		f = os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name))
		if len(names) > 1 {
			var inner *os.File
			inner, err = vanishFolder(f, names[1:])
			err = errors.Join(err, f.Close())
			f = inner
		}
	}
	return isVanished(f, unix.S_IFDIR, errors.Join(err, unix.Unlinkat(at, name, unix.AT_REMOVEDIR)))
}

// vanishFIFO makes a FIFO in a private folder and removes it. In dir itself, whoever may write
// there could put another FIFO of ours in its place, which would get the owner of the one to be
// restored, and lose its name.
func vanishFIFO(dir *os.File) (*os.File, error) {
	n, err := unix.FcntlInt(dir.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	in, err := newSockFolder(os.NewFile(uintptr(n), dir.Name()), nil)
	if err != nil {
		return nil, errors.Join(err, in.dir.Close())
	}
	var f *os.File
	if err = makeFIFO(in); err == nil {
		f, err = takeFIFO(in)
	}
	return isVanished(f, unix.S_IFIFO, errors.Join(err, in.close()))
}

const fifoName = "fifo"

func makeFIFO(in *sockFolder) error {
	if err := unix.Mknodat(int(in.private.Fd()), fifoName, unix.S_IFIFO|0o600, 0); err != nil {
		return &os.PathError{Op: "make", Path: filepath.Join(in.dir.Name(), in.name, fifoName), Err: err}
	}
	return nil
}

// takeFIFO opens the FIFO (O_PATH) and removes its name.
func takeFIFO(in *sockFolder) (*os.File, error) {
	f, err := openBelow(int(in.private.Fd()), fifoName, 0)
	return f, errors.Join(err, in.remove(fifoName))
}

// isVanished returns what was made, if there was no error and it is what was removed.
func isVanished(f *os.File, kind uint32, err error) (*os.File, error) {
	var st unix.Stat_t
	if err == nil {
		err = os.NewSyscallError("fstat", unix.Fstat(int(f.Fd()), &st))
	}
	if err == nil && (st.Nlink != 0 || st.Mode&unix.S_IFMT != kind || st.Uid != uint32(os.Geteuid())) {
		err = fmt.Errorf("somebody has put something else in the place of %s, which was just made there", f.Name())
	}
	if err != nil && f != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, err
}

// isKernelFS reports whether a folder is on a file system in which a new folder is more than
// that, or may not be made.
func isKernelFS(dir *os.File) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(int(dir.Fd()), &st) != nil {
		return true
	}
	return slices.Contains([]int64{unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC,
		configFSMagic, unix.TRACEFS_MAGIC, unix.DEBUGFS_MAGIC, unix.BPF_FS_MAGIC, unix.SECURITYFS_MAGIC, unix.RDTGROUP_SUPER_MAGIC}, int64(st.Type))
}

// configFSMagic is CONFIGFS_MAGIC of fs/configfs/mount.c.
const configFSMagic = 0x62656570

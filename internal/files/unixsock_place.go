package files

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/ends"
	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// The kernel keeps the name that bind(2) was given, to the byte, and makes the file in
// the same call. So a socket is bound under its name in a private folder that is the
// root or the working folder for that call. When all is restored, its file is put in the
// place of the one that the program left behind, if that is still the very same.

// sockFolder is a folder in which sockets are to have their files, or FIFOs are made, with
// a private one in it.
type sockFolder struct {
	dir, private *os.File
	name         string          // of the private folder
	id           *sys.FSIdentity // with whose rights files are made there; nil: ours
	made         []string        // below the private folder, each after the one that it is in
	count        int
}

// place is the file of a restored socket.
type place struct {
	m      *sockMaker
	in     *sockFolder
	staged string      // where it was made, below the private folder
	old    *named      // the file that it replaces
	base   string      // its name in the end
	st     unix.Stat_t // its identity
	placed bool
	saved  bool // staged is now the file that was there before
}

// newSockFolder makes a private folder in a folder.
func newSockFolder(dir *os.File, id *sys.FSIdentity) (*sockFolder, error) {
	f := &sockFolder{dir: dir, id: id, name: ".ckpt-" + rand.Text()}
	err := f.as(func() error {
		if err := unix.Mkdirat(int(dir.Fd()), f.name, 0o700); err != nil {
			return &os.PathError{Op: "mkdir", Path: filepath.Join(dir.Name(), f.name), Err: err}
		}
		fd, err := unix.Openat(int(dir.Fd()), f.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return errors.Join(&os.PathError{Op: "open", Path: f.name, Err: err}, unix.Unlinkat(int(dir.Fd()), f.name, unix.AT_REMOVEDIR))
		}
		f.private = os.NewFile(uintptr(fd), f.name)
		if err := f.isOurs(); err != nil {
			return errors.Join(err, f.private.Close())
		}
		return nil
	})
	return f, err
}

// isOurs makes sure that the private folder is the one that was made: whoever may write to
// the folder that it is in could have put another one in its place. What is in it is out of
// reach for others after that.
func (f *sockFolder) isOurs() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.private.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	owner := uint32(os.Geteuid())
	if f.id != nil {
		owner = f.id.UID
	}
	if st.Uid != owner || st.Mode&0o077 != 0 {
		return fmt.Errorf("somebody has put another folder in the place of %s, which was just made there", filepath.Join(f.dir.Name(), f.name))
	}
	return nil
}

// as calls do with the rights that files are made with.
func (f *sockFolder) as(do func() error) error {
	if f.id == nil {
		return do()
	}
	return sys.AsFS(f.id, do)
}

// stage returns the folders that a name leads through, where it begins, and where it
// ends: that of a path from the root begins at ".".
func stage(name string) (folders []string, begin, end string) {
	parts := strings.Split(name, "/")
	var at []string
	if name[0] != '/' {
		for _, p := range parts {
			if p == ".." {
				at = append(at, "up")
				folders = append(folders, filepath.Join(at...))
			}
		}
	}
	begin = filepath.Join(append([]string{"."}, at...)...)
	for _, p := range parts[:len(parts)-1] {
		switch {
		case p == "" || p == ".":
		case p != "..":
			at = append(at, p)
			folders = append(folders, filepath.Join(at...))
		case len(at) > 0:
			at = at[:len(at)-1]
		}
	}
	return folders, begin, filepath.Join(append(at, parts[len(parts)-1])...)
}

// bind binds a socket below the private folder. It returns where its file is and
// that file (O_PATH).
func (f *sockFolder) bind(fd int, name []byte) (staged string, file *os.File, err error) {
	top := strconv.Itoa(f.count)
	f.count++
	folders, begin, end := stage(string(name))
	err = f.as(func() error {
		for _, p := range append([]string{"."}, folders...) {
			path := filepath.Join(top, p)
			if err := unix.Mkdirat(int(f.private.Fd()), path, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
				return &os.PathError{Op: "mkdir", Path: path, Err: err}
			}
			f.made = append(f.made, path)
		}
		return nil
	})
	if err != nil {
		return "", nil, err
	}
	root, err := openBelow(int(f.private.Fd()), filepath.Join(top, begin), unix.O_DIRECTORY)
	if err != nil {
		return "", nil, err
	}
	defer root.Close()
	if err := sys.Within(int(root.Fd()), name[0] == '/', f.id, func() error { return sys.BindUnix(fd, name) }); err != nil {
		return "", nil, err
	}
	staged = filepath.Join(top, end)
	if file, err = openBelow(int(f.private.Fd()), staged, 0); err != nil {
		return "", nil, err
	}
	return staged, file, f.verify(fd, file)
}

// verify makes sure that a file is the one that a socket was bound to just now. Where
// files are made with the rights of others, these may have changed it.
func (f *sockFolder) verify(fd int, file *os.File) error {
	var st, sock unix.Stat_t
	if err := errors.Join(unix.Fstat(int(file.Fd()), &st), unix.Fstat(fd, &sock)); err != nil || f.id == nil {
		return err
	}
	d, err := sys.QueryUnix(sock.Ino)
	if err == nil && d.File.Ino != uint32(st.Ino) {
		err = fmt.Errorf("somebody has changed %s meanwhile", filepath.Join(f.dir.Name(), f.name))
	}
	return err
}

// openBelow opens (O_PATH) what no symbolic link leads to.
func openBelow(dir int, path string, flags uint64) (*os.File, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW | flags, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH}
	for {
		fd, err := unix.Openat2(dir, path, &how)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}

// remove removes a file below the private folder.
func (f *sockFolder) remove(staged string) error {
	return f.as(func() error { return unix.Unlinkat(int(f.private.Fd()), staged, 0) })
}

// close removes the private folder.
func (f *sockFolder) close() error {
	var errs []error
	err := f.as(func() error {
		for i := range f.made {
			if err := unix.Unlinkat(int(f.private.Fd()), f.made[len(f.made)-1-i], unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, err)
			}
		}
		return unix.Unlinkat(int(f.dir.Fd()), f.name, unix.AT_REMOVEDIR)
	})
	if err := errors.Join(append(errs, err)...); err != nil {
		return errors.Join(fmt.Errorf("remove %s: %w", filepath.Join(f.dir.Name(), f.name), err), f.private.Close(), f.dir.Close())
	}
	return errors.Join(f.private.Close(), f.dir.Close())
}

// sockPlace is where a socket's file was and is to be again.
func (r *Restorer) sockPlace(s *record.UnixSock) (folder, file *named) {
	what := "a folder"
	folder = r.named(s.Objref, s.File.Folder, what, isType(s.File.Folder.Path, unix.S_IFDIR, what))
	return folder, r.named(s.Objref, &s.File.Stat, "a unix socket", nil)
}

// checkPlace says what is in the way of putting a socket's file back.
func (m *sockMaker) checkPlace(s *record.UnixSock) error {
	folder, file := m.sockPlace(s)
	err := folder.with(0, func(p int, st *unix.Stat_t) error {
		if err := folder.allowed(p, st); err != nil {
			return err
		}
		_, _, err := m.findOld(p, file)
		return err
	})
	if err != nil {
		return fmt.Errorf("unix socket %s: %w", nameText(s.Name), err)
	}
	return nil
}

// findOld reports whether a socket's file is still there, and what that is. Anything
// else in its place is an error, and so is a socket that somebody has.
func (m *sockMaker) findOld(dir int, file *named) (there bool, st unix.Stat_t, err error) {
	p, err := openBelow(dir, filepath.Base(file.Path), 0)
	if errors.Is(err, unix.ENOENT) {
		return false, st, nil
	}
	if err != nil {
		return false, st, err
	}
	defer p.Close()
	if err := unix.Fstat(int(p.Fd()), &st); err != nil {
		return false, st, os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return false, st, file.another("another file")
	}
	used, err := m.bound.isBound(&st)
	switch {
	case err != nil:
		return false, st, err
	case used:
		return false, st, cli.WithHint(fmt.Errorf("%s is in use: another program has a socket that is bound to it", file.Path),
			"end that program, or give its socket to this one: "+ends.Flag("unix:"+file.Path, "inherit:FD"))
	case !file.isSame(int(p.Fd()), &st) && !file.wasRestored(&st):
		return false, st, file.another("another socket")
	}
	return true, st, nil
}

// wasRestored reports whether a socket's file is one that a restore from the same image
// has put there: then all that can be set is as it was, to the nanosecond.
func (n *named) wasRestored(st *unix.Stat_t) bool {
	return st.Mode == n.Mode && st.Uid == n.UID && st.Gid == n.GID && st.Mtim.Nano() == n.MtimeNS
}

func (n *named) another(what string) error {
	return cli.WithHint(fmt.Errorf("%s is %s, not the socket that the program had bound", n.Path, what), "move it away")
}

// boundFiles are the files that sockets are bound to which can be connected or sent to, as
// they were a moment ago: to list them takes the longer the more there are.
type boundFiles struct {
	at  time.Time
	all map[boundFile]bool
}

type boundFile struct {
	dev uint64
	ino uint32
}

// boundLimit is how long such a list is good for.
const boundLimit = 100 * time.Millisecond

// isBound reports whether such a socket is bound to a file.
func (b *boundFiles) isBound(st *unix.Stat_t) (bool, error) {
	if time.Since(b.at) > boundLimit {
		all, err := new(sys.UnixTable).All()
		if err != nil {
			return false, err
		}
		b.at, b.all = time.Now(), map[boundFile]bool{}
		for _, s := range all {
			if s.State == sys.UnixListening || s.Type == unix.SOCK_DGRAM {
				b.all[boundFile{s.File.Dev, s.File.Ino}] = true
			}
		}
	}
	return b.all[boundFile{st.Dev, uint32(st.Ino)}], nil
}

// checkAbstract makes sure that a name without a file is free, by binding a socket to
// it for a moment.
func checkAbstract(s *record.UnixSock) error {
	fd, err := unix.Socket(unix.AF_UNIX, s.Kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	return bindError(s.Name, sys.BindUnix(fd, s.Name))
}

func bindError(name []byte, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EADDRINUSE):
		return cli.WithHint(fmt.Errorf("the address %s of a unix socket is in use: another program has it", nameText(name)),
			"end that program, or give its socket to this one: "+ends.Flag(ends.UnixName(name), "inherit:FD"))
	}
	return fmt.Errorf("bind a unix socket to %s: %w", nameText(name), err)
}

// put puts the file in its place.
func (p *place) put() error {
	return p.in.as(func() error {
		there, found, err := p.m.findOld(int(p.in.dir.Fd()), p.old)
		if err != nil {
			return err
		}
		flags := uint(unix.RENAME_NOREPLACE)
		if there {
			flags = unix.RENAME_EXCHANGE
		}
		if err := unix.Renameat2(int(p.in.private.Fd()), p.staged, int(p.in.dir.Fd()), p.base, flags); err != nil {
			return fmt.Errorf("put the unix socket %s in its place: %w", p.old.Path, err)
		}
		p.placed, p.saved = true, there
		if !there {
			return nil
		}
		return p.isOld(&found)
	})
}

// isOld makes sure that what was replaced is what was found there.
func (p *place) isOld(found *unix.Stat_t) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(p.in.private.Fd()), p.staged, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Dev != found.Dev || st.Ino != found.Ino {
		return p.old.another("another file")
	}
	return nil
}

// undo takes put back.
func (p *place) undo() error {
	if p == nil || !p.placed {
		return nil
	}
	p.placed = false
	return p.in.as(func() error {
		var now unix.Stat_t
		if err := unix.Fstatat(int(p.in.dir.Fd()), p.base, &now, unix.AT_SYMLINK_NOFOLLOW); err != nil || now.Ino != p.st.Ino || now.Dev != p.st.Dev {
			return nil // somebody has changed it since
		}
		flags := uint(unix.RENAME_NOREPLACE)
		if p.saved {
			flags = unix.RENAME_EXCHANGE
		}
		p.saved = false
		return unix.Renameat2(int(p.in.dir.Fd()), p.base, int(p.in.private.Fd()), p.staged, flags)
	})
}

// clear removes what is left in the private folder.
func (p *place) clear() error {
	if p == nil || p.placed && !p.saved {
		return nil
	}
	p.saved = false
	if err := p.in.remove(p.staged); !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// checkName returns why a name can't be that of a unix socket.
func checkName(name []byte) bool {
	if len(name) == 0 || name[0] == 0 {
		return len(name) <= sys.MaxUnixName
	}
	base := name[bytes.LastIndexByte(name, '/')+1:]
	return len(name) <= sys.MaxUnixName && !bytes.Contains(name, []byte{0}) && len(base) > 0 && string(base) != "." && string(base) != ".."
}

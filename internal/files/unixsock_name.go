package files

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/cli"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// unixPlace is what a socket is bound to. The same name may be given to another file
// when the first was removed.
type unixPlace struct {
	name string
	file sys.UnixInode
}

func placeOf(d *sys.UnixSocket) unixPlace { return unixPlace{string(d.Name), d.File} }

// waitsToBeAccepted reports whether a socket is connected to one that waits for
// accept(2) and so has no inode yet.
func waitsToBeAccepted(d *sys.UnixSocket) bool {
	return d.HasPeer && d.Peer == 0 && d.Type != unix.SOCK_DGRAM && d.Shutdown != shutBoth
}

// waits describes a socket that waits to be accepted. What it has sent so far is in a
// socket that nobody can look into.
func (u *unixSocks) waits(s *Subject, f *os.File, rec *record.UnixSock) (good bool, err error) {
	if u.waiting == nil {
		if err := u.findWaiting(); err != nil {
			return false, err
		}
	}
	if rec.Outside = !u.waiting[rec.Ino]; rec.Outside {
		return true, nil
	}
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.SIOCOUTQ)
	if err != nil {
		return false, os.NewSyscallError("ioctl", err)
	}
	if n > 0 {
		u.c.Block(s.PID, passing{cli.WithHint(fmt.Errorf("fd %d is %s that waits to be accepted and has sent something, which can't be saved: nobody can look at what it has sent", s.FD, Describe(s)),
			"try again: it is for a moment that a connection waits")})
	}
	return n == 0, nil
}

func (u *unixSocks) findWaiting() error {
	all, err := u.table.All()
	if err != nil {
		return err
	}
	u.waiting = map[uint64]bool{}
	for ino, s := range all {
		if s.State != sys.UnixListening || !u.inside[ino] {
			continue
		}
		d, err := u.table.Query(ino)
		if err != nil {
			return err
		}
		for _, client := range d.Waiting {
			u.waiting[client] = true
		}
	}
	return nil
}

// listen describes what a socket that listens has waiting. It is nil if that can't be
// saved.
func (u *unixSocks) listen(s *Subject, d *sys.UnixSocket) *record.Listen {
	l, gone, outside := &record.Listen{Backlog: int64(d.Backlog)}, 0, 0
	for _, client := range d.Waiting {
		switch {
		case client == 0:
			gone++
		case u.inside[client]:
			l.Waiting = append(l.Waiting, client)
		default:
			outside++
		}
	}
	if gone > 0 {
		u.c.Block(s.PID, cli.WithHint(fmt.Errorf("fd %d is %s with %d connections waiting to be accepted whose clients have closed them already, which can't be saved: nobody can look at what they have sent", s.FD, Describe(s), gone),
			"try again: it is for a moment that a connection waits"))
		return nil
	}
	if outside > 0 {
		u.c.Lost = append(u.c.Lost, Lost{s.PID, s.FD, fmt.Sprintf("is %s with %d connections of other programs waiting to be accepted, which will be closed unanswered", Describe(s), outside)})
	}
	return l
}

// accepted reports whether accept(2) has made a socket, whose name is then that of
// the one that was listening. The kernel does not tell; but the other end of such a
// socket has seldom a name.
func (u *unixSocks) accepted(d *sys.UnixSocket) (bool, error) {
	if d.Name == nil || !d.HasPeer || d.Type == unix.SOCK_DGRAM || waitsToBeAccepted(d) {
		return false, nil
	}
	if d.Peer == 0 {
		return true, nil
	}
	peer, err := u.table.Query(d.Peer)
	if errors.Is(err, unix.ENOENT) {
		return true, nil
	}
	if err != nil || peer.Name == nil {
		return err == nil, err
	}
	if u.listens == nil {
		all, err := u.table.All()
		if err != nil {
			return false, err
		}
		u.listens = map[unixPlace]bool{}
		for _, s := range all {
			if s.State == sys.UnixListening {
				u.listens[placeOf(s)] = true
			}
		}
	}
	if mine, its := u.listens[placeOf(d)], u.listens[placeOf(peer)]; mine != its {
		return mine, nil
	}
	return d.Ino > d.Peer, nil
}

// file describes the file that a socket is bound to; nil if it is blocked.
func (u *unixSocks) file(s *Subject, fd int, d *sys.UnixSocket) (*record.SockFile, error) {
	p, err := sys.UnixFile(fd, string(d.Name))
	if errors.Is(err, unix.EPERM) {
		p, err = u.findFile(s, d)
	}
	if errors.Is(err, unix.EPERM) {
		u.c.Block(s.PID, &caps.Missing{Set: caps.Of(unix.CAP_NET_ADMIN), Who: fmt.Sprintf("fd %d, %s,", s.FD, Describe(s)), To: "find the file that %s is bound to"})
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer p.Close()
	file := &Subject{PID: s.PID, FD: s.FD, getter: s.getter, Link: fmt.Sprintf("/proc/self/fd/%d", p.Fd())}
	if file.Target, err = os.Readlink(file.Link); err != nil {
		return nil, err
	}
	if err := unix.Fstat(int(p.Fd()), &file.Stat); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	there, known := u.c.isThere(file)
	if !known {
		return nil, nil
	}
	if !there {
		file.Target = filepath.Join("/", strings.TrimSuffix(file.Target, deletedSuffix))
		if file.Stat.Nlink == 0 {
			return &record.SockFile{Stat: statOf(file), Deleted: true}, nil
		}
		if there = otherName(file); !there {
			u.c.Block(s.PID, cli.WithHint(fmt.Errorf("fd %d is %s, whose file was deleted under its name, %s, and has another in a folder that is not known, which can't be saved", s.FD, Describe(s), file.Target),
				"keep the name that it was bound to"))
			return nil, nil
		}
	}
	if file.Stat.Nlink > 1 {
		u.c.Block(s.PID, cli.WithHint(fmt.Errorf("fd %d is %s, whose file, %s, has %d names (hard links), which can't be saved", s.FD, Describe(s), file.Target, file.Stat.Nlink),
			"delete the others"))
		return nil, nil
	}
	folder, err := walk(filepath.Dir(file.Target), unix.O_PATH|unix.O_DIRECTORY, false)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Dir(file.Target), Err: err}
	}
	defer folder.Close()
	at := &Subject{Link: fmt.Sprintf("/proc/self/fd/%d", folder.Fd()), Target: filepath.Dir(file.Target)}
	if err := unix.Fstat(int(folder.Fd()), &at.Stat); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	st := statOf(at)
	return &record.SockFile{Stat: statOf(file), Folder: &st}, nil
}

// otherName looks for another name of a socket's file in the same folder: some programs
// bind under a name of their own, link it to the one that others know, and delete it.
func otherName(file *Subject) (found bool) {
	dir := filepath.Dir(file.Target)
	f, err := walk(dir, unix.O_RDONLY|unix.O_DIRECTORY, false)
	if err != nil {
		return false
	}
	defer f.Close()
	names, _ := f.ReadDir(maxNames)
	for _, n := range names {
		var st unix.Stat_t
		if n.Type() != os.ModeSocket || unix.Fstatat(int(f.Fd()), n.Name(), &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			continue
		}
		if st.Dev == file.Stat.Dev && st.Ino == file.Stat.Ino {
			file.Target = filepath.Join(dir, n.Name())
			return true
		}
	}
	return false
}

// maxNames bounds how much of a folder is looked through.
const maxNames = 20000

// findFile is UnixFile for those who may not ask the kernel: it looks where the name
// leads. EPERM: the file is not there.
func (u *unixSocks) findFile(s *Subject, d *sys.UnixSocket) (*os.File, error) {
	path := string(d.Name)
	if !filepath.IsAbs(path) {
		cwd, err := os.Readlink(proc.Path(s.PID, "cwd"))
		if err != nil {
			return nil, err
		}
		path = filepath.Join(cwd, path)
	}
	fd, err := u.c.walkQuietly(filepath.Clean(path))
	if err != nil {
		return nil, unix.EPERM
	}
	f := os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK || uint32(st.Ino) != d.File.Ino {
		f.Close()
		return nil, unix.EPERM
	}
	return f, nil
}

// nameText is a name for messages.
func nameText(name []byte) string {
	if len(name) == 0 {
		return unnamed
	}
	return string(bytes.ReplaceAll(name, []byte{0}, []byte("@")))
}

package mounts

import (
	"bytes"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// How the host's files are told apart, and found again.

// noLinks: a path as the kernel prints it has none.
const noLinks = unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// openPath opens a path with O_PATH, below the root that dirfd is. Where no links are
// followed, the last of it may be one.
func openPath(dirfd int, p string, resolve uint64) (*os.File, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolve}
	if resolve&unix.RESOLVE_NO_SYMLINKS != 0 {
		how.Flags |= unix.O_NOFOLLOW
	}
	name := p
	if dirfd != unix.AT_FDCWD {
		name = "." + p
	}
	for {
		fd, err := unix.Openat2(dirfd, name, &how)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: p, Err: err}
		}
		return os.NewFile(uintptr(fd), p), nil
	}
}

// statOf asks for what is known of a file, without asking who serves it.
func statOf(f *os.File) (st unix.Statx_t, err error) {
	const mask = unix.STATX_BASIC_STATS | unix.STATX_BTIME | unix.STATX_MNT_ID
	err = unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, mask, &st)
	if err != nil {
		return st, &os.PathError{Op: "statx", Path: f.Name(), Err: err}
	}
	return st, nil
}

func devOf(st *unix.Statx_t) uint64 { return unix.Mkdev(st.Dev_major, st.Dev_minor) }

func nsec(t unix.StatxTimestamp) int64 { return t.Sec*1e9 + int64(t.Nsec) }

// identify tells what a file is.
func identify(f *os.File) (*record.FSIdentity, error) {
	st, err := statOf(f)
	if err != nil {
		return nil, err
	}
	id := &record.FSIdentity{Dev: devOf(&st), Ino: st.Ino, Mode: uint32(st.Mode)}
	if st.Mask&unix.STATX_BTIME != 0 {
		id.BtimeNS = nsec(st.Btime)
	}
	if h, _, err := unix.NameToHandleAt(int(f.Fd()), "", unix.AT_EMPTY_PATH); err == nil {
		id.FH = &record.Handle{Type: h.Type(), Bytes: h.Bytes()}
	}
	return id, nil
}

// isSame reports whether what was seen once is what is seen now. An inode number alone does
// not tell, because it may have been used again, and can be guessed: the time of birth or the
// file handle does. A file system may have neither, such as devpts.
func isSame(was, now *record.FSIdentity, sameBoot bool) bool {
	if was == nil || was.Ino != now.Ino || (was.Mode^now.Mode)&unix.S_IFMT != 0 || sameBoot && was.Dev != now.Dev {
		return false
	}
	born, handle := was.BtimeNS != 0 && now.BtimeNS != 0, was.FH != nil && now.FH != nil
	if born && was.BtimeNS != now.BtimeNS || handle && (was.FH.Type != now.FH.Type || !bytes.Equal(was.FH.Bytes, now.FH.Bytes)) {
		return false
	}
	return born || handle || sameBoot && !canTell(was) && !canTell(now)
}

// canTell reports whether more is known of a file than its number.
func canTell(id *record.FSIdentity) bool { return id.BtimeNS != 0 || id.FH != nil }

// isGuess reports whether what the root of a mount is would be known by a number only: the
// root of a file system there is once.
func (m *mount) isGuess() bool { return m.Is == nil || m.Root != "/" && !canTell(m.Is) }

// candidates lists where a folder of a file system may be found among the mounts of the host:
// first is tried before all.
func candidates(first string, host []proc.Mount, is func(*proc.Mount) bool, root string) (paths []string) {
	if first != "" {
		paths = append(paths, first)
	}
	for i := range host {
		h := &host[i]
		if !is(h) {
			continue
		}
		if rest, ok := under(h.Root, root); ok && !slices.Contains(paths, path.Join(h.Point, rest)) {
			paths = append(paths, path.Join(h.Point, rest))
		}
	}
	return paths
}

// find opens the first of some paths that leads to what was seen.
func find(rootfd int, paths []string, was *record.FSIdentity, sameBoot bool) (*os.File, string) {
	for _, p := range paths {
		f, err := openPath(rootfd, p, noLinks)
		if err != nil {
			continue
		}
		if now, err := identify(f); err == nil && isSame(was, now, sameBoot) {
			return f, p
		}
		f.Close()
	}
	return nil, ""
}

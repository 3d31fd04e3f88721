package files

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// What a file has besides its bytes and its owner. It is saved only for files
// whose contents are part of the stream; any other still has it.

const (
	maxXattrBytes = 1 << 16 // XATTR_SIZE_MAX and XATTR_LIST_MAX of linux/limits.h
	capability    = "security.capability"
	accessList    = "system.posix_acl_access"
	defaultList   = "system.posix_acl_default"
)

// travels reports whether an extended attribute is saved: user.*, access control
// lists and capabilities are. Security labels and trusted.* belong to the system.
func travels(name string) bool {
	return strings.HasPrefix(name, "user.") || name == accessList || name == defaultList || name == capability
}

// readExtras returns the extended attributes of an open file and its write
// lifetime hint, see F_SET_RW_HINT in fcntl(2).
func readExtras(f *os.File) (attrs []record.Xattr, hint uint64, err error) {
	fd := int(f.Fd())
	if hint, err = sys.RWHint(fd); err != nil {
		hint = 0 // before Linux 4.13, or not supported by the file
	}
	attrs, err = xattrs(f.Name(), func(b []byte) (int, error) { return unix.Flistxattr(fd, b) },
		func(name string, b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) })
	return attrs, hint, err
}

// xattrsOf returns the extended attributes of what a link in /proc leads to, which is not
// opened for that.
func xattrsOf(link string) ([]record.Xattr, error) {
	return xattrs(link, func(b []byte) (int, error) { return unix.Listxattr(link, b) },
		func(name string, b []byte) (int, error) { return unix.Getxattr(link, name, b) })
}

func xattrs(of string, list func([]byte) (int, error), get func(string, []byte) (int, error)) (attrs []record.Xattr, err error) {
	names := make([]byte, maxXattrBytes)
	n, err := list(names)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("extended attributes of %s: %w", of, err)
	}
	for name := range bytes.SplitSeq(bytes.TrimSuffix(names[:n], []byte{0}), []byte{0}) {
		if !travels(string(name)) {
			continue
		}
		value := make([]byte, maxXattrBytes)
		n, err := get(string(name), value)
		if err != nil {
			return nil, fmt.Errorf("extended attribute %s of %s: %w", name, of, err)
		}
		attrs = append(attrs, record.Xattr{Name: string(name), Value: value[:n]})
	}
	return attrs, nil
}

// checkDeleted returns an error for a folder or FIFO without a name that can't be.
func checkDeleted(st *record.Stat, attrs []record.Xattr, kind uint32) error {
	if st.Mode&unix.S_IFMT != kind {
		return fmt.Errorf("%w: %s has mode %#o", stream.ErrCorrupt, st.Path, st.Mode)
	}
	return errors.Join(checkPath(st.Path), checkExtras(st.Path, attrs, 0))
}

// checkExtras returns an error for extras that no file can have.
func checkExtras(path string, attrs []record.Xattr, hint uint64) error {
	const lastHint = 5 // RWH_WRITE_LIFE_EXTREME of uapi linux/fcntl.h
	if hint > lastHint {
		return fmt.Errorf("%w: %s has write hint %d", stream.ErrCorrupt, path, hint)
	}
	for _, a := range attrs {
		if !travels(a.Name) || strings.Contains(a.Name, "\x00") || len(a.Value) > maxXattrBytes {
			return fmt.Errorf("%w: %s has extended attribute %q of %d bytes", stream.ErrCorrupt, path, a.Name, len(a.Value))
		}
	}
	return nil
}

// setExtras sets the permissions, extended attributes and hint of a new file. An
// image may claim anything, and it must not bring a file into being with which
// anybody becomes another user. So set-user-id and set-group-id bits are set only
// if all processes of the image belong to the file's owner, and capabilities only
// if that is root.
func (r *Restorer) setExtras(f *os.File, s *record.Stat, attrs []record.Xattr, hint uint64) error {
	const setID = unix.S_ISUID | unix.S_ISGID
	fd, mode := int(f.Fd()), s.Mode&0o7777
	trusted := r.Owns != nil && r.Owns(s.UID, s.GID)
	if mode&setID != 0 && !trusted {
		mode &^= setID
		r.Note("%s was deleted and comes back without its set-user-id and set-group-id bits, because not all processes of the image are its owner's", s.Path)
	}
	for _, name := range []string{accessList, defaultList} { // what it got from its folder
		if err := unix.Fremovexattr(fd, name); err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("remove extended attribute %s: %w", name, err)
		}
	}
	if err := unix.Fchmod(fd, mode); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	for _, a := range attrs {
		if a.Name == capability {
			if !trusted || s.UID != 0 {
				r.Note("%s was deleted and comes back without its capabilities, because not all processes of the image are root's", s.Path)
			}
			continue
		}
		err := unix.Fsetxattr(fd, a.Name, a.Value, 0)
		switch {
		case errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM):
			r.Note("%s was deleted and comes back without its extended attribute %s, which its file system does not accept", s.Path, a.Name)
		case err != nil:
			return fmt.Errorf("extended attribute %s: %w", a.Name, err)
		}
	}
	if hint == 0 {
		return nil
	}
	if err := sys.SetRWHint(fd, hint); err != nil {
		r.Note("%s was deleted and comes back without its write lifetime hint (F_SET_RW_HINT)", s.Path)
	}
	return nil
}

// setCapability sets the capabilities of a new file when its contents are in:
// writing to a file removes them.
func (r *Restorer) setCapability(f *os.File, s *record.Stat, attrs []record.Xattr) error {
	for _, a := range attrs {
		if a.Name == capability && s.UID == 0 && r.Owns != nil && r.Owns(s.UID, s.GID) {
			return os.NewSyscallError("fsetxattr", unix.Fsetxattr(int(f.Fd()), a.Name, a.Value, 0))
		}
	}
	return nil
}

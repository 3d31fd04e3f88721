package move

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	rootDir = "/run/ckpt"
	// lockTime is how long another process may have the folder's lock, which it does for microseconds.
	lockTime = 5 * time.Second
	// stateBytes is the length of the state, which a record begins with.
	stateBytes     = 16
	maxRecordBytes = 16 << 20
)

// ErrNone: there is no such record.
var ErrNone = errors.New("there is no record of it")

// place is the folder of this user's records.
func place() (string, error) {
	if os.Geteuid() == 0 {
		return rootDir, nil
	}
	base := os.Getenv("XDG_RUNTIME_DIR")
	if base == "" {
		base = fmt.Sprintf("/run/user/%d", os.Geteuid())
	}
	var st unix.Stat_t
	if err := unix.Lstat(base, &st); err != nil {
		return "", &fs.PathError{Op: "look at", Path: base, Err: err}
	}
	if st.Uid != uint32(os.Geteuid()) || st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Mode&0o022 != 0 {
		return "", fmt.Errorf("%s is no folder that only this user may change (XDG_RUNTIME_DIR)", base)
	}
	return filepath.Join(base, "ckpt"), nil
}

// openDir opens the folder, and makes it where it is missing.
func openDir() (*os.File, error) {
	path, err := place()
	if err != nil {
		return nil, err
	}
	if err := unix.Mkdir(path, 0o700); err != nil && err != unix.EEXIST {
		return nil, &fs.PathError{Op: "make", Path: path, Err: err}
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Uid != uint32(os.Geteuid()) || st.Mode&0o077 != 0 {
		unix.Close(fd)
		return nil, errors.Join(fmt.Errorf("%s is no folder that only this user may enter", path), err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// note is a record on its way: a file that holds a state and what was written with it.
type note struct {
	dir  *os.File
	f    *os.File
	name string
}

// create makes a record, which is this process's own from now on.
func create(name string, state State, v any) (*note, error) {
	dir, err := openDir()
	if err != nil {
		return nil, err
	}
	n := &note{dir: dir, name: name}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "make", Path: filepath.Join(dir.Name(), name), Err: err}, dir.Close())
	}
	n.f = os.NewFile(uintptr(fd), name)
	b, err := json.Marshal(v)
	if err == nil {
		err = os.NewSyscallError("flock", unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB))
	}
	if err == nil { // without a state nothing of it counts
		_, err = n.f.WriteAt(append(b, '\n'), stateBytes)
	}
	if err == nil {
		err = n.write(state)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write a record of the move: %w", err), n.remove(), n.close())
	}
	return n, nil
}

// find opens a record, and reads what was written with it into each of v, as far as it is there.
func find(name string, v ...any) (*note, error) {
	dir, err := openDir()
	if err != nil {
		return nil, err
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil, errors.Join(ErrNone, dir.Close())
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: filepath.Join(dir.Name(), name), Err: err}, dir.Close())
	}
	n := &note{dir: dir, name: name, f: os.NewFile(uintptr(fd), name)}
	dec := json.NewDecoder(io.NewSectionReader(n.f, stateBytes, maxRecordBytes))
	for _, to := range v {
		if err := dec.Decode(to); err != nil && err != io.EOF {
			return nil, errors.Join(fmt.Errorf("the record %s can't be read: %w", filepath.Join(dir.Name(), name), err), n.close())
		}
	}
	return n, nil
}

func (n *note) close() error { return errors.Join(n.f.Close(), n.dir.Close()) }

// remove removes the record.
func (n *note) remove() error {
	if err := unix.Unlinkat(int(n.dir.Fd()), n.name, 0); err != nil && err != unix.ENOENT {
		return &fs.PathError{Op: "remove", Path: filepath.Join(n.dir.Name(), n.name), Err: err}
	}
	return nil
}

// append adds something to what was written.
func (n *note) append(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	st, err := n.f.Stat()
	if err != nil {
		return err
	}
	_, err = n.f.WriteAt(append(b, '\n'), st.Size())
	return err
}

func (n *note) write(s State) error {
	_, err := n.f.WriteAt([]byte(fmt.Sprintf("%-*s\n", stateBytes-1, s)), 0)
	return err
}

// state reads the state. A record that was removed has none.
func (n *note) state() (State, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(n.f.Fd()), &st); err != nil {
		return "", os.NewSyscallError("fstat", err)
	}
	if st.Nlink == 0 {
		return "", ErrNone
	}
	b := make([]byte, stateBytes)
	if _, err := n.f.ReadAt(b, 0); err != nil && err != io.EOF {
		return "", err
	}
	return State(strings.Trim(string(b), " \n\x00")), nil
}

// owned reports whether the process that made the record lives.
func (n *note) owned() bool {
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", n.f.Fd()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false // it was removed
	}
	defer unix.Close(fd)
	return unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) == unix.EWOULDBLOCK
}

// advance changes the state, if it is one of from, and returns the one it had.
func (n *note) advance(to State, from ...State) (was State, err error) {
	unlock, err := n.lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	if was, err = n.state(); err != nil {
		return was, err
	}
	for _, s := range from {
		if s == was {
			return was, n.write(to)
		}
	}
	return was, nil
}

// lock takes the folder's lock.
func (n *note) lock() (unlock func(), err error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", n.dir.Fd()), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("open", err)
	}
	for end := time.Now().Add(lockTime); ; time.Sleep(time.Millisecond) {
		switch err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			return func() { unix.Close(fd) }, nil
		case err != unix.EWOULDBLOCK && err != unix.EINTR:
			unix.Close(fd)
			return nil, os.NewSyscallError("flock", err)
		case time.Now().After(end):
			unix.Close(fd)
			return nil, fmt.Errorf("another process keeps %s locked", n.dir.Name())
		}
	}
}

// until waits until done reports something, a moment at most if ctx ends.
func until(ctx context.Context, limit time.Duration, done func() (bool, error)) error {
	for end := time.Now().Add(limit); ; time.Sleep(2 * time.Millisecond) {
		switch ok, err := done(); {
		case err != nil:
			return err
		case ok:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Now().After(end):
			return ErrTimeout
		}
	}
}

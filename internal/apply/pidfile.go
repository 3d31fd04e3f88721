package apply

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// pidFile is the file of --pidfile. It is written as a whole or not at all, and no link
// is followed.
type pidFile struct {
	path string
	st   unix.Stat_t
}

// writePIDFile writes the file; it returns nil without a path.
func writePIDFile(path string, pid int) (*pidFile, error) {
	if path == "" {
		return nil, nil
	}
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() {
		return nil, fmt.Errorf("pid file %s exists and is not a regular file", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".ckpt-pid-")
	if err != nil {
		if cause := new(os.PathError); errors.As(err, &cause) {
			err = cause.Err // for nobody asked for that name
		}
		return nil, fmt.Errorf("pid file %s: no file can be made in %s: %w", path, filepath.Dir(path), err)
	}
	p := &pidFile{path: path}
	_, err = fmt.Fprintf(f, "%d\n", pid)
	err = errors.Join(err, f.Chmod(0o644), unix.Fstat(int(f.Fd()), &p.st), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pid file %s: %w", path, err), os.Remove(f.Name()))
	}
	return p, nil
}

// remove removes the file, if it is still the one that was written.
func (p *pidFile) remove() error {
	var now unix.Stat_t
	if p == nil || unix.Lstat(p.path, &now) != nil || now.Dev != p.st.Dev || now.Ino != p.st.Ino {
		return nil
	}
	return os.Remove(p.path)
}

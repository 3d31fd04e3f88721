package write

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// createBeside makes a file that link later gives the name path. Until then it
// has none, so that nothing is left of it whatever happens; where the file
// system can't do that, it has a temporary one.
func createBeside(path string) (*os.File, error) {
	dir := filepath.Dir(path)
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600) // it will hold all the program's memory
	if err == nil {
		return os.NewFile(uintptr(fd), path), nil // named so in messages
	}
	if err == unix.EOPNOTSUPP || err == unix.EISDIR {
		return os.CreateTemp(dir, tempPrefix+"*")
	}
	return nil, &os.PathError{Op: "create a file in", Path: dir, Err: err}
}

// tempPrefix begins the name of a file that is about to get its own. It does not
// have that in it, which may be as long as a name can be.
const tempPrefix = ".ckpt-write."

// link gives the file its name, in place of a file that had it.
func (d *dest) link() error {
	temp := d.f.Name()
	if temp == d.path { // it has no name
		temp = filepath.Join(filepath.Dir(d.path), tempPrefix+rand.Text()) // which nobody has, or can take first
		if err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", d.f.Fd()), unix.AT_FDCWD, temp, unix.AT_SYMLINK_FOLLOW); err != nil {
			return &os.PathError{Op: "name", Path: temp, Err: err}
		}
	}
	if err := os.Rename(temp, d.path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// durable reports whether commit makes the image safe.
func (d *dest) durable() bool {
	if d.path != "" {
		return true
	}
	st, err := d.f.Stat()
	return err == nil && st.Mode().IsRegular()
}

// open reports whether others than the owner may read what is written.
func (d *dest) open() bool {
	st, err := d.f.Stat()
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o044 != 0
}

// commit makes the image durable: its bytes first, then its name.
func (d *dest) commit() error {
	if !d.durable() {
		return nil
	}
	if err := d.f.Sync(); err != nil {
		return fmt.Errorf("image file: %w", err)
	}
	if d.path == "" {
		return nil
	}
	if err := d.link(); err != nil {
		return fmt.Errorf("image file: %w", err)
	}
	dir, err := os.Open(filepath.Dir(d.path))
	if err != nil {
		return err
	}
	err = dir.Sync()
	return errors.Join(err, dir.Close(), d.f.Close())
}

// discard leaves nothing of a file behind. What went to standard output can't
// be taken back, but without its end it is no image.
func (d *dest) discard() error {
	if d.path == "" {
		return nil
	}
	d.f.Close()
	if d.f.Name() == d.path { // it has no name
		return nil
	}
	if err := os.Remove(d.f.Name()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

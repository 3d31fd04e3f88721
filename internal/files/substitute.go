package files

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"ckpt/internal/ends"
)

// substitute is what a descriptor gets in place of what it had open.
type substitute struct {
	flag  string // the option that asked for it
	how   ends.Decision
	flags uint32 // O_ flags of the original
	pos   int64  // position in the original file; 0 if it had none
}

// inheritFD is ckpt-apply's own descriptor.
func inheritFD(fd int) ends.Decision { return ends.Decision{Action: ends.Inherit, FD: fd} }

// toFile is a file.
func toFile(path string) ends.Decision { return ends.Decision{Action: ends.File, Path: path} }

func (s *substitute) closes() bool { return s != nil && s.how.Action == ends.Close }

func (s *substitute) reads() bool  { return s.flags&unix.O_ACCMODE != unix.O_WRONLY }
func (s *substitute) writes() bool { return s.flags&unix.O_ACCMODE != unix.O_RDONLY }

// check returns what stands in its way, without making anything.
func (s *substitute) check() error {
	var err error
	switch s.how.Action {
	case ends.Inherit:
		err = s.checkOurs()
	case ends.File:
		err = s.checkPath()
	case ends.Connect:
		err = errors.New("it can't be connected again")
	case ends.Keep:
		err = errors.New("it was not saved in such a way that it can go on, see --tcp in ckpt-collect(1)")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.flag, err)
	}
	return nil
}

func (s *substitute) checkOurs() error {
	now, err := unix.FcntlInt(uintptr(s.how.FD), unix.F_GETFL, 0)
	mode := now & unix.O_ACCMODE
	switch {
	case s.how.FD == 0:
		return errors.New("descriptor 0 of ckpt-apply is the stream")
	case err != nil:
		return fmt.Errorf("ckpt-apply has no descriptor %d", s.how.FD)
	case now&unix.O_PATH != 0, s.reads() && mode == unix.O_WRONLY, s.writes() && mode == unix.O_RDONLY:
		return fmt.Errorf("descriptor %d of ckpt-apply is not open to be %s, as the program needs", s.how.FD, s.use())
	}
	return nil
}

func (s *substitute) use() string {
	switch {
	case s.reads() && s.writes():
		return "read and written"
	case s.writes():
		return "written"
	}
	return "read"
}

func (s *substitute) checkPath() error {
	if s.how.Path == ownTerminal {
		return nil
	}
	var st unix.Stat_t
	err := unix.Stat(s.how.Path, &st)
	switch {
	case err == unix.ENOENT && s.writes():
		if dir := filepath.Dir(s.how.Path); unix.Access(dir, unix.W_OK) != nil {
			return fmt.Errorf("no file can be made in %s", dir)
		}
		return nil
	case err != nil:
		return err
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return errors.New("it is a folder")
	case s.reads() && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size < s.pos:
		return fmt.Errorf("it has %d bytes, and the program had read up to %d", st.Size, s.pos)
	case s.reads() && unix.Access(s.how.Path, unix.R_OK) != nil, s.writes() && unix.Access(s.how.Path, unix.W_OK) != nil:
		return fmt.Errorf("it may not be %s by this user", s.use())
	}
	return nil
}

// open opens it. The path is one the user typed, so symbolic links are followed.
// It never blocks: a FIFO may have nobody at its other end.
func (s *substitute) open() (*os.File, error) {
	f, err := s.openAny()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.flag, err)
	}
	return f, nil
}

func (s *substitute) openAny() (*os.File, error) {
	path := s.how.Path
	switch s.how.Action {
	case ends.Inherit:
		n, err := unix.FcntlInt(uintptr(s.how.FD), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return nil, fmt.Errorf("descriptor %d of ckpt-apply: %w", s.how.FD, err)
		}
		return os.NewFile(uintptr(n), "descriptor "+strconv.Itoa(s.how.FD)), nil
	case ends.Null:
		path = os.DevNull
	}
	how := int(s.flags&unix.O_ACCMODE) | unix.O_NOCTTY | unix.O_NONBLOCK | unix.O_CLOEXEC
	if s.writes() && path != ownTerminal && path != os.DevNull {
		how |= unix.O_CREAT | unix.O_APPEND
	}
	fd, err := unix.Open(path, how, 0o666)
	if err == unix.ENXIO {
		return nil, fmt.Errorf("%s is a FIFO that nobody has open for reading", path)
	}
	if err != nil {
		return nil, err
	}
	if s.flags&unix.O_NONBLOCK == 0 {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, how&unix.O_APPEND)
	}
	if err == nil && s.pos > 0 && !s.writes() {
		if _, err = unix.Seek(fd, s.pos, io.SeekStart); err == unix.ESPIPE {
			err = nil
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

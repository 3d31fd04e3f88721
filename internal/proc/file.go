package proc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxFileBytes bounds a file that is read whole. The longest are status
	// with 65536 groups (NGROUPS_MAX, 11 bytes each), cmdline (the stack's
	// rlimit, a quarter of it) and children.
	maxFileBytes = 64 << 20
	// maxLineBytes bounds a line of maps: a path may be longer than PATH_MAX
	// and each newline in it takes four bytes.
	maxLineBytes = 1 << 20
)

// ErrFormat is wrapped by the error for any text that is not as the kernel writes
// it.
var ErrFormat = errors.New("unexpected format")

// Gone reports whether err says that the process or thread, or the descriptor
// asked for, does not exist any more.
func Gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

// ofPid puts the process in front of an error.
func ofPid(pid int, err error) error {
	return fmt.Errorf("pid %d: %w", pid, err)
}

// malformed makes an error about a text from the kernel. It quotes the text up to
// a bound.
func malformed(what string, text []byte) error {
	const maxQuoted = 80
	if len(text) > maxQuoted {
		text = text[:maxQuoted]
	}
	return fmt.Errorf("%s %q: %w", what, text, ErrFormat)
}

// usualBytes is what most files have room in.
const usualBytes = 4096

// readFile reads a whole file whose size the file system does not know. Thousands
// are read, so it makes no calls but those it takes.
func readFile(path string) ([]byte, error) { return readAll(path, make([]byte, 0, usualBytes), false) }

// readText is readFile into buf, if there is room.
func readText(path string, buf []byte) ([]byte, error) { return readAll(path, buf, false) }

// readPiece is readText for a file that the kernel makes in one piece (single_open of
// fs/seq_file.c): all of it is there when a read fills less than there is room for.
func readPiece(path string, buf []byte) ([]byte, error) { return readAll(path, buf, true) }

// readAll reads a file into b, which grows when there is no room.
func readAll(path string, b []byte, piece bool) ([]byte, error) {
	failed := func(op string, err error) error { return &fs.PathError{Op: op, Path: path, Err: err} }
	fd, err := openFD(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	for {
		n, err := again(func() (int, error) { return unix.Read(fd, b[len(b):cap(b)]) })
		switch {
		case err != nil:
			return nil, failed("read", err)
		case n == 0:
			return b, nil
		}
		b = b[:len(b)+n]
		switch {
		case len(b) > maxFileBytes:
			return nil, failed("read", unix.EFBIG)
		case piece && len(b) < cap(b):
			return b, nil
		}
		b = slices.Grow(b, 1)
	}
}

// openFD opens a file. An os.File would take system calls of its own.
func openFD(path string) (int, error) {
	fd, err := again(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// again makes a call until it is not interrupted.
func again(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != unix.EINTR {
			return n, err
		}
	}
}

// readParsed reads a file of a process and parses it. What parse returns has nothing of
// the bytes that it gets.
func readParsed[T any](pid int, path string, parse func([]byte) (T, error)) (T, error) {
	return parsed(pid, path, readText, parse)
}

// parsed is readParsed by way of read.
func parsed[T any](pid int, path string, read func(string, []byte) ([]byte, error), parse func([]byte) (T, error)) (T, error) {
	var none T
	buf := lineBuffers.Get().(*lineBuffer)
	defer lineBuffers.Put(buf)
	b, err := read(path, buf[:0])
	if err != nil {
		return none, ofPid(pid, err)
	}
	v, err := parse(b)
	if err != nil {
		return none, ofPid(pid, fmt.Errorf("parse %s: %w", path, err))
	}
	return v, nil
}

// lineBuffer is what lines are read into that are not longer.
type lineBuffer [64 << 10]byte

var lineBuffers = sync.Pool{New: func() any { return new(lineBuffer) }}

// newLineScanner splits a stream at newlines only. bufio.ScanLines would also
// drop a carriage return, which a path may end in.
func newLineScanner(r io.Reader, buf *lineBuffer) *bufio.Scanner {
	s := bufio.NewScanner(r)
	s.Buffer(buf[:0], maxLineBytes)
	s.Split(splitLF)
	return s
}

func splitLF(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// Processes lists all process ids.
func Processes() ([]int, error) { return here.Processes() }

// Processes lists all process ids.
func (v View) Processes() ([]int, error) { return readNumbers(v.root) }

// readNumbers lists the entries of a directory that are numbers, ascending.
func readNumbers(path string) ([]int, error) {
	fd, err := openFD(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var names []string
	buf := lineBuffers.Get().(*lineBuffer)
	defer lineBuffers.Put(buf)
	for {
		n, err := again(func() (int, error) { return unix.ReadDirent(fd, buf[:]) })
		if err != nil {
			return nil, &fs.PathError{Op: "readdirent", Path: path, Err: err}
		}
		if n == 0 {
			return sortedNumbers(names), nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

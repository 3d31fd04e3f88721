// Package depot keeps the open files of a restore, which may be more than one
// process may have descriptors for. It alone knows where each is.
//
// As long as there is room they are descriptors of this process. Beyond that the
// least recently used ones move to a holder: a copy of this program that is stopped
// before its first instruction, gets the descriptors when it is cloned, and dies
// with this process. A file that is asked for is fetched back and stays for a while.
package depot

import (
	"container/list"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/puppet"
	"ckpt/internal/tracee"
)

const (
	// spare are the descriptors left for others than the depot's files: the Go
	// runtime's, those of /proc, those that are open for one call.
	spare = 40
	// alwaysHere is how many of the files used last never leave.
	alwaysHere = 16
)

// Depot is the files. It is used by the one OS thread that makes puppets.
type Depot struct {
	room    int
	here    list.List // of *File; the one used last is the last
	holders []*puppet.Puppet
	// taken reports whether a process id must stay free for the restored tree.
	taken  func(pid int) bool
	closed bool
}

// File is an open file. It is here, in a holder, or both.
type File struct {
	d      *Depot
	name   string
	own    *os.File      // as it was given to Keep
	fd     int           // as it was given to KeepFD or fetched back, or -1
	at     *list.Element // nil if it is not here
	holder *puppet.Puppet
	there  int // its number in the holder
}

// New returns a depot. No holder gets a process id that is taken. Each of the leaving
// descriptors that are open now is closed before a file is kept in its place.
func New(taken func(pid int) bool, leaving int) (*Depot, error) {
	room, err := Room(leaving)
	if err != nil {
		return nil, err
	}
	return &Depot{room: room, taken: taken}, nil
}

// Room is how many files can be here once some descriptors have been closed.
func Room(leaving int) (int, error) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	open, err := countOpen()
	if err != nil {
		return 0, err
	}
	open -= leaving
	room := int(min(lim.Cur, 1<<30)) - open - spare
	if room < 2*alwaysHere {
		return 0, cli.WithHint(fmt.Errorf("this process may have %d descriptors, of which %d are in use, and needs %d more to restore anything", lim.Cur, open, spare+2*alwaysHere),
			"raise the limit, see ulimit -n")
	}
	return room, nil
}

// countOpen counts the descriptors of this process. Since Linux 6.2 the folder's size is
// their number.
func countOpen() (int, error) {
	const own = "/proc/self/fd"
	if info, err := os.Stat(own); err == nil && info.Size() > 0 {
		return int(info.Size()), nil
	}
	open, err := os.ReadDir(own)
	return len(open), err
}

// Keep takes over an open file.
func (d *Depot) Keep(f *os.File) (*File, error) {
	return d.keep(&File{d: d, name: f.Name(), own: f, fd: -1})
}

// KeepFD is Keep for a descriptor without an os.File.
func (d *Depot) KeepFD(fd int, name string) (*File, error) {
	return d.keep(&File{d: d, name: name, fd: fd})
}

func (d *Depot) keep(k *File) (*File, error) {
	k.at = d.here.PushBack(k)
	if err := d.makeRoom(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// Fd returns the file's descriptor in this process, which is good until at least a
// dozen other files have been used.
func (f *File) Fd() (int, error) {
	if f.at != nil {
		f.d.here.MoveToBack(f.at)
		return f.number(), nil
	}
	if f.holder == nil || f.d.closed {
		return -1, fmt.Errorf("%s: %w", f.name, os.ErrClosed)
	}
	fd, err := tracee.GetFD(f.holder.Tracee().PID, f.there)
	if err != nil {
		return -1, fmt.Errorf("fetch %s from the process that holds it: %w", f.name, err)
	}
	f.fd, f.at = fd, f.d.here.PushBack(f)
	return fd, f.d.makeRoom()
}

// Together is how many files' descriptors are good at the same time, if none is
// opened meanwhile.
func (d *Depot) Together() int {
	if len(d.holders) == 0 {
		return math.MaxInt
	}
	return alwaysHere
}

func (f *File) number() int {
	if f.own != nil {
		return int(f.own.Fd())
	}
	return f.fd
}

// Dup returns a descriptor of the same open file that is the caller's.
func (f *File) Dup() (*os.File, error) {
	fd, err := f.Fd()
	if err != nil {
		return nil, err
	}
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("duplicate %s: %w", f.name, err)
	}
	return os.NewFile(uintptr(n), f.name), nil
}

// Name is what the file is called in messages.
func (f *File) Name() string { return f.name }

// Close closes it wherever it is. It does nothing if f is nil or the depot is
// closed already.
func (f *File) Close() error {
	if f == nil || f.d.closed {
		return nil
	}
	err := f.leave()
	if f.holder != nil {
		err = errors.Join(err, tracee.CallOK(f.holder, "close "+f.name, unix.SYS_CLOSE, uint64(f.there)))
		f.holder = nil
	}
	return err
}

// leave closes it here.
func (f *File) leave() error {
	if f.at == nil {
		return nil
	}
	f.d.here.Remove(f.at)
	f.at = nil
	if f.own != nil {
		err := f.own.Close()
		f.own = nil
		return err
	}
	err := unix.Close(f.fd)
	f.fd = -1
	return os.NewSyscallError("close", err)
}

// makeRoom moves most of the files to holders when there are more than room.
func (d *Depot) makeRoom() error {
	n := d.here.Len()
	if n <= d.room {
		return nil
	}
	var old []*File
	for e := d.here.Front(); len(old) < moved(n); e = e.Next() {
		old = append(old, e.Value.(*File))
	}
	if err := d.handOn(old); err != nil {
		return err
	}
	var errs []error
	for _, f := range old {
		errs = append(errs, f.leave())
	}
	return errors.Join(errs...)
}

// handOn makes a new holder hold those of the files that no holder has.
func (d *Depot) handOn(files []*File) error {
	var fds []int
	var moved []*File
	for _, f := range files {
		if f.holder == nil {
			fds, moved = append(fds, f.number()), append(moved, f)
		}
	}
	if len(fds) == 0 {
		return nil
	}
	p, numbers, err := d.Start(fds)
	if err != nil {
		return cli.WithHint(fmt.Errorf("there are more open files than this process may have descriptors, and no other can hold %d of them: %w", len(fds), err),
			"raise the limit, see ulimit -n")
	}
	d.holders = append(d.holders, p)
	for i, f := range moved {
		f.holder, f.there = p, numbers[i]
	}
	return nil
}

// Start starts a holder of these descriptors, see puppet.StartHolder, whose process id
// need not stay free.
func (d *Depot) Start(fds []int) (p *puppet.Puppet, numbers []int, err error) {
	var rejected []*puppet.Puppet // they keep their ids until one with a free id is found
	for {
		p, numbers, err = puppet.StartHolder(fds)
		if err != nil || !d.taken(p.Tracee().PID) {
			break
		}
		rejected = append(rejected, p)
	}
	for _, r := range rejected {
		err = errors.Join(err, r.Tracee().Kill())
	}
	return p, numbers, err
}

// Holders is how many processes hold files.
func (d *Depot) Holders() int { return len(d.holders) }

// Holders is how many processes it takes, at most, to hold so many files, of which
// there is room for some here.
func Holders(files, room int) int {
	if files <= room {
		return 0
	}
	return (files-room)/moved(room) + 1
}

// moved is how many of n files move to holders at once.
func moved(n int) int { return n - max(alwaysHere, n/4) }

// Close closes all files and ends the holders. When it returns, files that nobody
// else has open are closed for good.
func (d *Depot) Close() error {
	if d == nil || d.closed {
		return nil
	}
	var errs []error
	var fds []int
	for d.here.Len() > 0 {
		if f := d.here.Front().Value.(*File); f.own == nil {
			d.here.Remove(f.at)
			fds, f.at, f.fd = append(fds, f.fd), nil, -1
		} else {
			errs = append(errs, f.leave())
		}
	}
	errs = append(errs, closeAll(fds))
	for _, p := range d.holders {
		errs = append(errs, p.Tracee().Kill())
	}
	d.holders, d.closed = nil, true
	return errors.Join(errs...)
}

// closeAll closes descriptors, those with consecutive numbers by one call.
func closeAll(fds []int) error {
	slices.Sort(fds)
	var errs []error
	for len(fds) > 0 {
		n := 1
		for n < len(fds) && fds[n] == fds[0]+n {
			n++
		}
		errs = append(errs, os.NewSyscallError("close_range", unix.CloseRange(uint(fds[0]), uint(fds[n-1]), 0)))
		fds = fds[n:]
	}
	return errors.Join(errs...)
}

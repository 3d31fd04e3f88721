package collect

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// volley sends a signal to many processes in one system call, so that nothing can come in
// between: if we are killed, either all got it or none. A loop of kill(2) can be cut short,
// and half a tree would be left.
//
// The kernel has a call for that: each event of a pipe signals whoever owns an open
// description of it that has O_ASYNC (kill_fasync in fs/fcntl.c, F_SETOWN and F_SETSIG in
// fcntl(2)). So the pipe is opened once for each process, which becomes the owner, and one
// byte is the shot. All are open for reading and writing, so that closing them, as our end
// does, never leaves the pipe with only one of its sides, which would be an event, too
// (pipe_release in fs/pipe.c).
type volley struct {
	sig  unix.Signal
	pipe int   // its descriptor
	aims []int // one for each process
}

func newVolley(sig unix.Signal) (*volley, error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	fd, err := openBoth(ends[0])
	unix.Close(ends[0])
	unix.Close(ends[1])
	return &volley{sig: sig, pipe: fd}, err
}

// openBoth opens a pipe once more, with both sides.
func openBoth(end int) (int, error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", end), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	return fd, os.NewSyscallError("open", err)
}

// aim adds a process.
func (v *volley) aim(pid int) error {
	fd, err := openBoth(v.pipe)
	if err != nil {
		return err
	}
	v.aims = append(v.aims, fd)
	// O_ASYNC comes last: until then, no event signals anybody.
	for _, c := range [][2]int{{unix.F_SETSIG, int(v.sig)}, {unix.F_SETOWN, pid}, {unix.F_SETFL, unix.O_NONBLOCK | unix.O_ASYNC}} {
		if _, err := unix.FcntlInt(uintptr(fd), c[0], c[1]); err != nil {
			return os.NewSyscallError("fcntl", err)
		}
	}
	return nil
}

// fire sends the signal. The kernel says nothing of those that it did not reach: a process
// that this user may signal by a capability only (sigio_perm in fs/fcntl.c), or the first
// one of a pid namespace.
func (v *volley) fire() error {
	_, err := unix.Write(v.pipe, []byte{0})
	return os.NewSyscallError("write", err)
}

// close closes the pipe. Who was not fired at is not signalled.
func (v *volley) close() {
	for _, fd := range append(v.aims, v.pipe) {
		unix.Close(fd)
	}
}

// volley sends a signal to those processes of the tree that are meant, in one call if
// the limit on our descriptors has room for it. Who was not reached is left to the caller.
func (t *tree) volley(sig unix.Signal, meant func(*process) bool) {
	v, err := newVolley(sig)
	if err != nil {
		return
	}
	defer v.close()
	for _, p := range t.procs {
		if !meant(p) {
			continue
		}
		if v.aim(p.pid) != nil {
			return
		}
	}
	_ = v.fire()
}

// lives reports whether a process has not ended.
func lives(p *process) bool { return !p.zombie }

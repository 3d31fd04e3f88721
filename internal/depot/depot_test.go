package depot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// small is a depot with room for a few files. It is used by this OS thread, which
// traces the holders.
func small(t *testing.T, taken func(int) bool) *Depot {
	t.Helper()
	runtime.LockOSThread()
	d, err := New(taken, 0)
	if err != nil {
		t.Fatal(err)
	}
	d.room = 2 * alwaysHere
	return d
}

func none(int) bool { return false }

// number makes a file whose position is n.
func number(t *testing.T, d *Depot, n int) *File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(int64(n), io.SeekStart); err != nil {
		t.Fatal(err)
	}
	k, err := d.Keep(f)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func position(t *testing.T, f *File) int {
	t.Helper()
	fd, err := f.Fd()
	if err != nil {
		t.Fatal(err)
	}
	at, err := unix.Seek(fd, 0, io.SeekCurrent)
	if err != nil {
		t.Fatal(err)
	}
	return int(at)
}

func open(t *testing.T) int {
	t.Helper()
	fds, err := proc.FDs(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// Every file is the one that was kept, in whatever order they are asked for, and
// no more of them are here than there is room for.
func TestMoreThanRoom(t *testing.T) {
	d := small(t, none)
	before := open(t)
	var files []*File
	for n := range 300 {
		files = append(files, number(t, d, n))
	}
	for _, step := range []int{1, 7, 299} {
		for i := range files {
			n := i * step % len(files)
			if at := position(t, files[n]); at != n {
				t.Fatalf("file %d is at %d", n, at)
			}
			if now := open(t) - before; now > d.room {
				t.Fatalf("%d descriptors are open, there is room for %d", now, d.room)
			}
		}
	}
	if d.Holders() < 300/d.room {
		t.Errorf("%d holders", d.Holders())
	}
	fd, err := files[0].Fd()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files[1 : alwaysHere-2] { // what was used just now stays
		position(t, f)
	}
	if at, err := unix.Seek(fd, 0, io.SeekCurrent); err != nil || at != 0 {
		t.Errorf("after a few others: %d, %v", at, err)
	}
	holders := d.holders
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, h := range holders {
		if _, err := proc.ReadStat(h.Tracee().PID); err == nil {
			t.Errorf("holder %d is there", h.Tracee().PID)
		}
	}
	if now := open(t); now != before {
		t.Errorf("%d descriptors are open, %d were", now, before)
	}
	if fd, err := files[0].Fd(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("asked for when all is closed: %d, %v", fd, err)
	}
	if err := errors.Join(files[0].Close(), d.Close()); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

// A file that is closed is closed in its holder, too: the other end of a pipe
// notices.
func TestCloseInHolder(t *testing.T) {
	d := small(t, none)
	defer d.Close()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	w, err := d.Keep(os.NewFile(uintptr(p[1]), "a pipe"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 * d.room {
		number(t, d, n)
	}
	if w.holder == nil {
		t.Fatal("it has no holder")
	}
	hungUp := func() bool {
		fds := []unix.PollFd{{Fd: int32(p[0])}}
		_, err := unix.Poll(fds, 0)
		return err == nil && fds[0].Revents&unix.POLLHUP != 0
	}
	if hungUp() {
		t.Error("it is closed before")
	}
	if err := w.Close(); err != nil || !hungUp() {
		t.Errorf("it is not closed: %v", err)
	}
	if _, err := w.Fd(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("it can be used: %v", err)
	}
}

// Ids that the tree needs are left alone.
func TestTakenIDs(t *testing.T) {
	asked := map[int]bool{}
	d := small(t, func(pid int) bool {
		asked[pid] = true
		return len(asked) < 3
	})
	defer d.Close()
	for n := range d.room + 1 {
		number(t, d, n)
	}
	if d.Holders() != 1 || len(asked) != 3 {
		t.Fatalf("%d holders, %d ids were asked for", d.Holders(), len(asked))
	}
	for pid := range asked {
		if _, err := proc.ReadStat(pid); (err == nil) != (pid == d.holders[0].Tracee().PID) {
			t.Errorf("pid %d: %v", pid, err)
		}
	}
}

// Flags and kind of a file survive: a non-blocking one stays so, and is not
// watched by the Go runtime after it was away.
func TestNonBlocking(t *testing.T) {
	d := small(t, none)
	defer d.Close()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	var ends [2]*File
	for i := range ends {
		var err error
		if ends[i], err = d.Keep(os.NewFile(uintptr(p[i]), fmt.Sprint("end ", i))); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3 * d.room {
		number(t, d, n)
	}
	for _, end := range ends {
		fd, err := end.Fd()
		if err != nil {
			t.Fatal(err)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("flags %#o, %v", flags, err)
		}
		copied, err := end.Dup()
		if err != nil {
			t.Fatal(err)
		}
		if flags, err := unix.FcntlInt(copied.Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("a duplicate has flags %#o, %v", flags, err)
		}
		copied.Close()
	}
}

func TestHolders(t *testing.T) {
	for _, c := range []struct{ files, room, want int }{{0, 100, 0}, {100, 100, 0}, {101, 100, 1}, {200_000, 19_900, 13}} {
		if got := Holders(c.files, c.room); got != c.want {
			t.Errorf("%d files, room for %d: %d holders, want %d", c.files, c.room, got, c.want)
		}
	}
}

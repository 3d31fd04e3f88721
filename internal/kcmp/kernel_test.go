package kcmp

import (
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// needKernel skips where the kernel was built without kcmp(2).
func needKernel(t testing.TB) {
	t.Helper()
	pid := os.Getpid()
	if _, err := Compare(pid, pid, VM, 0, 0); errors.Is(err, unix.ENOSYS) {
		t.Skip(err)
	}
}

func fd(f *os.File) uint64 { return uint64(f.Fd()) }

func open(t testing.TB, name string) *os.File {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func dup(t testing.TB, f *os.File) *os.File {
	t.Helper()
	n, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := os.NewFile(uintptr(n), f.Name())
	t.Cleanup(func() { d.Close() })
	return d
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// sleeper is a child that has files as its descriptors from 3.
func sleeper(t testing.TB, files ...*os.File) (pid int) {
	t.Helper()
	c := exec.Command("sleep", "600")
	c.ExtraFiles = files
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	return c.Process.Pid
}

func TestKernelFiles(t *testing.T) {
	needKernel(t)
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	first, second := open(t, name), open(t, name)
	r, w := pipe(t)
	own := os.Getpid()
	child := sleeper(t, first, r, w)
	next, tree := counter(), NewTree(File, Kernel{})
	for _, c := range []struct {
		name  string
		h     Handle
		id    uint64
		isNew bool
	}{
		{"first open", Handle{own, fd(first)}, 1, true},
		{"second open", Handle{own, fd(second)}, 2, true},
		{"dup of first", Handle{own, fd(dup(t, first))}, 1, false},
		{"dup of second", Handle{own, fd(dup(t, second))}, 2, false},
		{"read end", Handle{own, fd(r)}, 3, true},
		{"write end", Handle{own, fd(w)}, 4, true},
		{"child's first", Handle{child, 3}, 1, false},
		{"child's read end", Handle{child, 4}, 3, false},
		{"child's write end", Handle{child, 5}, 4, false},
	} {
		id, isNew, err := tree.Insert(0, c.h, next)
		if err != nil || id != c.id || isNew != c.isNew {
			t.Errorf("%s: got %d %v %v, want %d %v", c.name, id, isNew, err, c.id, c.isNew)
		}
	}
}

func TestKernelOrder(t *testing.T) {
	needKernel(t)
	own := os.Getpid()
	var fds []uint64
	for range 20 {
		fds = append(fds, fd(open(t, os.DevNull)))
	}
	for _, a := range fds {
		for _, b := range fds {
			x, err := Compare(own, own, File, a, b)
			if err != nil {
				t.Fatal(err)
			}
			y, _ := Compare(own, own, File, b, a)
			if y != x.Reverse() || (x == Equal) != (a == b) || x == Unordered {
				t.Errorf("fd %d and %d: %v, the other way %v", a, b, x, y)
			}
		}
	}
}

func TestKernelTypes(t *testing.T) {
	needKernel(t)
	first, second := sleeper(t), sleeper(t)
	for typ, none := range map[Type]bool{
		VM: false, Files: false, FS: false, Sighand: false,
		SysVSem: true, // neither has undo lists, which is equal
	} {
		o, err := Compare(first, first, typ, 0, 0)
		if errors.Is(err, unix.EOPNOTSUPP) {
			continue
		}
		if err != nil || o != Equal {
			t.Errorf("%v of one task: %v %v", typ, o, err)
		}
		if o, err = Compare(first, second, typ, 0, 0); err != nil || (o == Equal) != none {
			t.Errorf("%v of two tasks: %v %v", typ, o, err)
		}
	}
	if o, err := Compare(first, first, IO, 0, 0); err != nil || o != Equal {
		t.Errorf("io of one task: %v %v", o, err)
	}
}

func TestKernelEpoll(t *testing.T) {
	needKernel(t)
	own := os.Getpid()
	r, w := pipe(t)
	r2, _ := pipe(t)
	n, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	ep := os.NewFile(uintptr(n), "epoll")
	t.Cleanup(func() { ep.Close() })
	if err := unix.EpollCtl(n, unix.EPOLL_CTL_ADD, int(fd(r)), &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
		t.Fatal(err)
	}
	slot := EpollSlot{EpollFD: uint32(n), TargetFD: uint32(fd(r))}
	o, err := CompareEpollTarget(own, fd(r), own, slot)
	if errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip(err)
	}
	if err != nil || o != Equal {
		t.Errorf("the target itself: %v %v", o, err)
	}
	for _, f := range []*os.File{w, r2, ep} {
		if o, err := CompareEpollTarget(own, fd(f), own, slot); err != nil || o == Equal {
			t.Errorf("fd %d, which is not the target: %v %v", fd(f), o, err)
		}
	}
	for _, c := range []struct {
		slot  EpollSlot
		errno unix.Errno
		says  string
	}{
		{EpollSlot{uint32(n), uint32(fd(w)), 0}, unix.ENOENT, "no such target"},
		{EpollSlot{uint32(n), uint32(fd(r)), 1}, unix.ENOENT, "no such target"},
		{EpollSlot{uint32(fd(w)), uint32(fd(r)), 0}, unix.EINVAL, "is not an epoll"},
		{EpollSlot{math.MaxInt32, uint32(fd(r)), 0}, unix.EBADF, "fd 2147483647 is not open"},
	} {
		_, err := CompareEpollTarget(own, fd(r), own, c.slot)
		if !errors.Is(err, c.errno) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c.slot, err)
		}
	}
}

func TestKernelErrors(t *testing.T) {
	needKernel(t)
	own, zero := os.Getpid(), fd(open(t, os.DevNull))
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	dead := gone.Process.Pid
	for _, c := range []struct {
		name  string
		a, b  Handle
		typ   Type
		errno unix.Errno
		at    []Handle
	}{
		{"closed", Handle{own, zero}, Handle{own, 99999}, File, unix.EBADF, []Handle{{own, 99999}}},
		{"beyond 32 bits", Handle{own, zero | 1<<32}, Handle{own, zero}, File, unix.EBADF, []Handle{{own, zero | 1<<32}}},
		{"dead", Handle{dead, 0}, Handle{own, 0}, VM, unix.ESRCH, []Handle{{dead, 0}}},
		{"pid 0", Handle{own, zero}, Handle{0, zero}, File, unix.ESRCH, []Handle{{0, zero}}},
		{"pid beyond 32 bits", Handle{own, 0}, Handle{own + 1<<32, 0}, VM, unix.ESRCH, []Handle{{own + 1<<32, 0}}},
		{"type", Handle{own, 0}, Handle{own, 0}, EpollTFD, unix.EINVAL, nil},
	} {
		_, err := Kernel{}.Compare(c.a, c.b, c.typ)
		e := new(Error)
		if !errors.As(err, &e) || e.Err != c.errno || len(e.At) != len(c.at) || len(e.At) > 0 && e.At[0] != c.at[0] {
			t.Errorf("%s: %v, at %v", c.name, err, e.At)
		}
	}
}

// TestKernelPermission drops root on one thread, which then may not trace root's.
func TestKernelPermission(t *testing.T) {
	needKernel(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	own, child := os.Getpid(), sleeper(t)
	// A change of user makes the process one that cannot be dumped.
	t.Cleanup(func() { unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) })
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with its goroutine
		if errno := setThreadUser(65534); errno != 0 {
			done <- errno
			return
		}
		_, err := Compare(own, child, VM, 0, 0)
		done <- err
	}()
	err := <-done
	e := new(Error)
	if !errors.As(err, &e) || e.Err != unix.EPERM || len(e.At) != 1 || e.At[0].PID != child {
		t.Fatalf("%v, want no permission for pid %d", err, child)
	}
}

func TestErrorText(t *testing.T) {
	a, b := Handle{7, 3}, Handle{8, 4}
	for _, c := range []struct {
		e    Error
		want string
	}{
		{Error{Type: File, A: a, B: b, At: []Handle{b}, Err: unix.EPERM},
			"can't compare file of pid 7 fd 3 with pid 8 fd 4: no permission to trace pid 8, needs its user or CAP_SYS_PTRACE"},
		{Error{Type: VM, A: a, B: b, Err: unix.ESRCH}, "can't compare vm of pid 7 with pid 8: pid 7 or pid 8 does not exist"},
		{Error{Type: File, A: a, B: b, At: []Handle{a}, Err: unix.EBADF}, "can't compare file of pid 7 fd 3 with pid 8 fd 4: pid 7 fd 3 is not open"},
		{Error{Type: FS, A: a, B: b, Err: unix.ENOSYS}, "can't compare fs of pid 7 with pid 8: this kernel has no kcmp, needs CONFIG_KCMP"},
		{Error{Type: SysVSem, A: a, B: b, Err: unix.EOPNOTSUPP}, "can't compare sysvsem of pid 7 with pid 8: this kernel can't compare sysvsem"},
		{Error{Type: EpollTFD, A: a, B: b, Slot: EpollSlot{4, 9, 1}, Err: unix.ENOENT},
			"can't compare epoll_tfd of pid 7 fd 3 with pid 8 fd 4 target 9 #1: the epoll has no such target"},
	} {
		if got := c.e.Error(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

package puppet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/tracee"
)

// puppet starts a puppet with pages of its own; it ends with the test.
func puppet(t *testing.T) *Puppet {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the puppet dies with the thread
	p, err := StartStub(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.t.Kill(); err != nil {
			t.Error(err)
		}
	})
	maps, err := proc.ReadMaps(p.t.PID)
	if err != nil {
		t.Fatal(err)
	}
	var occupied []tracee.Range
	for _, m := range maps {
		occupied = append(occupied, tracee.Range{Addr: m.Start, Len: m.Len()})
	}
	at, ok := tracee.Hole(occupied, Bytes)
	if !ok {
		t.Fatal("no room")
	}
	if err := errors.Join(p.t.SetSignalMask(^uint64(0)), p.Settle(at.Addr)); err != nil {
		t.Fatal(err)
	}
	return p
}

// fdsOf lists the descriptors of a puppet.
func fdsOf(t *testing.T, p *Puppet) []int {
	t.Helper()
	fds, err := proc.FDs(p.t.PID)
	if err != nil {
		t.Fatal(err)
	}
	return fds
}

// bothWays runs a test with vectors, and with single calls instead.
func bothWays(t *testing.T, test func(t *testing.T, p *Puppet)) {
	t.Run("vector", func(t *testing.T) { test(t, puppet(t)) })
	t.Run("singly", func(t *testing.T) {
		p := puppet(t)
		p.Singly()
		test(t, p)
	})
}

func TestVector(t *testing.T) {
	bothWays(t, func(t *testing.T, p *Puppet) {
		v := p.Vector()
		at := v.Room(8)
		pipe := v.Add("make a pipe", unix.SYS_PIPE2, at, 0)
		data := v.Put([]byte("hello, world"))
		first := v.Add("duplicate", unix.SYS_DUP, 0)
		v.Add("duplicate", unix.SYS_DUP, 77)
		second := v.Add("duplicate", unix.SYS_FCNTL, 0, unix.F_DUPFD, 500).From(0, first)
		bad := v.Add("close nothing", unix.SYS_CLOSE, 10_000).MayFail()
		v.Add("close", unix.SYS_CLOSE, 0).From(0, first)
		write := v.Add("write", unix.SYS_PWRITE64, 0, data, 12, 0, 0, 0).From(0, second).MayFail()
		self := v.Add("ask who it is", unix.SYS_GETPID)
		if err := v.Run(); !errors.Is(err, unix.EBADF) {
			t.Fatalf("duplicating a descriptor that does not exist: %v", err)
		}
		if _, err := pipe.Result(); err != nil {
			t.Error(err)
		}
		if self.made || bad.made || write.made {
			t.Error("what stands behind a failed call was made")
		}

		var fds [8]byte
		if err := p.t.ReadMem(at, fds[:]); err != nil {
			t.Fatal(err)
		}
		w := uint64(binary.LittleEndian.Uint32(fds[4:]))
		data = v.Put([]byte("hello, world"))
		first = v.Add("duplicate", unix.SYS_DUP, w)
		second = v.Add("duplicate", unix.SYS_FCNTL, 0, unix.F_DUPFD, 100).From(0, first)
		bad = v.Add("close nothing", unix.SYS_CLOSE, 10_000).MayFail()
		v.Add("close", unix.SYS_CLOSE, 0).From(0, first)
		write = v.Add("write", unix.SYS_WRITE, 0, data, 12).From(0, second)
		self = v.Add("ask who it is", unix.SYS_GETPID)
		if err := v.Run(); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			*VectorCall
			want uint64
			err  error
		}{"write": {write, 12, nil}, "getpid": {self, uint64(p.t.PID), nil}, "F_DUPFD": {second, 100, nil}, "close": {bad, 0, unix.EBADF}} {
			if got, err := c.Result(); err != c.err || err == nil && got != c.want {
				t.Errorf("%s returned %d, %v; want %d, %v", name, got, err, c.want, c.err)
			}
		}
		for _, c := range []*VectorCall{first, second} {
			if n, _ := c.Result(); slices.Contains(fdsOf(t, p), int(n)) != (c == second) {
				t.Errorf("it has descriptors %v", fdsOf(t, p))
			}
		}
	})
}

// TestVectorNames: the error names the call that failed, in a vector and alone.
func TestVectorNames(t *testing.T) {
	bothWays(t, func(t *testing.T, p *Puppet) {
		for before := range 3 {
			v := p.Vector()
			for range before {
				v.Add("do nothing", unix.SYS_GETPPID)
			}
			v.Add("close what it has not", unix.SYS_CLOSE, 77)
			v.Add("never", unix.SYS_GETPPID)
			err := v.Run()
			if !errors.Is(err, unix.EBADF) || !strings.Contains(err.Error(), "close what it has not") {
				t.Errorf("%d calls before it: %v", before, err)
			}
			if err := v.Run(); err != nil {
				t.Errorf("the error is returned twice: %v", err)
			}
		}
	})
}

// TestVectorLong has more calls than a puppet has room for, each with the result of the one
// before, and more data than fits.
func TestVectorLong(t *testing.T) {
	bothWays(t, func(t *testing.T, p *Puppet) {
		const n = 3*maxCalls/2 + 1
		v := p.Vector()
		last := v.Add("make a file", unix.SYS_MEMFD_CREATE, v.Put([]byte("x\x00")), 0)
		file := last
		for i := range n {
			v.Add("write", unix.SYS_WRITE, 0, v.Put(bytes.Repeat([]byte{byte(i)}, 200)), 200).From(0, file)
			last = v.Add("seek", unix.SYS_LSEEK, 0, 0, unix.SEEK_CUR).From(0, file)
		}
		if err := v.Run(); err != nil {
			t.Fatal(err)
		}
		if at, err := last.Result(); err != nil || at != n*200 {
			t.Fatalf("%d bytes were written, %v; want %d", at, err, n*200)
		}
		fd, err := tracee.GetFD(p.t.PID, int(file.result))
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "memfd")
		defer f.Close()
		got := make([]byte, n*200)
		if _, err := f.ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		for i, b := range got {
			if b != byte(i/200) {
				t.Fatalf("byte %d is %d, want %d", i, b, byte(i/200))
			}
		}
		if got := v.Room(int(p.Scratch().Len)); got != p.Scratch().Addr {
			t.Errorf("all of the memory is at %#x", got)
		}
		v.Add("do nothing", unix.SYS_GETPPID)
		if err := v.Run(); err != nil {
			t.Error(err)
		}
		v.Put(make([]byte, p.Scratch().Len+1))
		if err := v.Run(); !errors.Is(err, unix.E2BIG) {
			t.Errorf("more than all of it: %v", err)
		}
	})
}

// TestVectorSignals: a puppet is stopped and continued by signals of others while it makes
// calls: all calls are made, each once, and the stops take effect when it is let go.
func TestVectorSignals(t *testing.T) {
	p := puppet(t)
	stop, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Kill(p.t.PID, unix.SIGSTOP)
				_ = unix.Kill(p.t.PID, unix.SIGCONT)
				_ = unix.Tgkill(p.t.PID, p.t.TID, unix.SIGSTOP)
				_ = unix.Kill(p.t.PID, unix.SIGTRAP)
			}
		}
	}()
	v := p.Vector()
	file := v.Add("make a file", unix.SYS_MEMFD_CREATE, v.Put([]byte("x\x00")), 0)
	if err := v.Run(); err != nil {
		t.Fatal(err)
	}
	total := 0
	for begin := time.Now(); time.Since(begin) < time.Second; {
		for range 50 {
			v.Add("write", unix.SYS_WRITE, 0, v.Put([]byte{1, 2, 3}), 3).From(0, file)
			total += 3
		}
		if err := v.Run(); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Call(unix.SYS_WRITE, uint64(file.result), p.Scratch().Addr, 3); err != nil {
			t.Fatal(err)
		}
		total += 3
	}
	close(stop)
	<-over
	_ = unix.Kill(p.t.PID, unix.SIGSTOP) // and nobody continues it
	if at, err := p.Call(unix.SYS_LSEEK, uint64(file.result), 0, unix.SEEK_CUR); err != nil || int(at) != total {
		t.Fatalf("%d bytes were written, %v; want %d", at, err, total)
	}
	t.Logf("%d bytes in calls that were stopped and continued", total)
	if err := p.t.InterruptFromCall(); err != nil || p.t.GroupStop != unix.SIGSTOP {
		t.Errorf("it is stopped by %v, %v", p.t.GroupStop, err)
	}
}

// TestVectorNoSignals: a puppet may have no pending signals: the kernel does not tell who sent
// the one with which it stops itself.
func TestVectorNoSignals(t *testing.T) {
	p := puppet(t)
	if err := unix.Prlimit(p.t.PID, unix.RLIMIT_SIGPENDING, &unix.Rlimit{}, nil); err != nil {
		t.Fatal(err)
	}
	if pid, err := p.Call(unix.SYS_GETPID); err != nil || int(pid) != p.t.PID {
		t.Errorf("it says that it is %d, %v", pid, err)
	}
}

// TestSingly: a pending SIGCONT is kept, which a vector would remove.
func TestSingly(t *testing.T) {
	p := puppet(t)
	p.Singly()
	if err := unix.Tgkill(p.t.PID, p.t.TID, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	v := p.Vector()
	for range 3 {
		v.Add("do nothing", unix.SYS_GETPPID)
	}
	if err := v.Run(); err != nil {
		t.Fatal(err)
	}
	waiting, err := p.t.PendingSignals(false)
	if err != nil || len(waiting) != 1 || waiting[0][0] != byte(unix.SIGCONT) {
		t.Errorf("signals that wait: %v, %v", waiting, err)
	}
}

// TestCloneThreads makes threads together, up to one that can't be made.
func TestCloneThreads(t *testing.T) {
	p := puppet(t)
	var tids []NewThread
	for tid := 1 << 14; len(tids) < 20; tid++ {
		if unix.Tgkill(p.t.PID, tid, 0) == unix.ESRCH && unix.Kill(tid, 0) == unix.ESRCH {
			tids = append(tids, NewThread{tid, unix.CLONE_FS | unix.CLONE_FILES})
		}
	}
	tids = append(tids, NewThread{p.t.PID, 0}, tids[0])
	made, err := p.CloneThreads(tids)
	if !errors.Is(err, unix.EEXIST) || len(made) != 20 {
		t.Fatalf("%d threads, %v", len(made), err)
	}
	t.Cleanup(func() {
		_ = unix.Kill(p.t.PID, unix.SIGKILL)
		for _, m := range made {
			_ = m.t.AwaitEnd()
		}
	})
	for i, m := range made {
		v := m.Vector()
		self := v.Add("ask who it is", unix.SYS_GETTID)
		v.Add("name itself", unix.SYS_PRCTL, unix.PR_SET_NAME, v.Put([]byte{'a' + byte(i), 0}))
		if err := v.Run(); err != nil {
			t.Fatal(err)
		}
		if got, _ := self.Result(); int(got) != tids[i].TID {
			t.Errorf("thread %d says it is %d", tids[i].TID, got)
		}
		if comm, err := proc.ReadComm(p.t.PID, tids[i].TID); err != nil || comm != string('a'+byte(i)) {
			t.Errorf("thread %d is named %q, %v", tids[i].TID, comm, err)
		}
	}
	if got, err := proc.Threads(p.t.PID); err != nil || len(got) != 21 {
		t.Errorf("there are %d threads, %v", len(got), err)
	}
}

// TestVectorData: each of very many calls reads its own data, also those that fill up the
// array or the memory for data.
func TestVectorData(t *testing.T) {
	bothWays(t, func(t *testing.T, p *Puppet) {
		v := p.Vector()
		file := v.Add("make a file", unix.SYS_MEMFD_CREATE, v.Put([]byte("x\x00")), 0)
		if err := v.Run(); err != nil {
			t.Fatal(err)
		}
		fd, err := file.Result()
		if err != nil {
			t.Fatal(err)
		}
		const n = 3*maxCalls + 7
		long := make([]byte, 256)
		for i := range n {
			b := binary.LittleEndian.AppendUint64(nil, uint64(i))
			if i%3 == 0 {
				b = append(b, long...)
			}
			v.Add("write", unix.SYS_PWRITE64, fd, v.Put(b), 8, uint64(i*8))
			if i%5 == 0 {
				v.Add("call without data", unix.SYS_GETPPID)
			}
		}
		if err := v.Run(); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 8)
		for i := range n {
			if _, err := p.Call(unix.SYS_PREAD64, fd, p.Scratch().Addr, 8, uint64(i*8)); err != nil {
				t.Fatal(err)
			}
			if err := p.t.ReadMem(p.Scratch().Addr, b); err != nil {
				t.Fatal(err)
			}
			if got := binary.LittleEndian.Uint64(b); got != uint64(i) {
				t.Fatalf("call %d wrote the data of call %d", i, got)
			}
		}
	})
}

// TestVectorApart: data that would be gone before its call is an error.
func TestVectorApart(t *testing.T) {
	p := puppet(t)
	v := p.Vector()
	room := int(p.Scratch().Len)
	v.Room(room / 2)
	v.Room(room/2 + 8)
	v.Add("call", unix.SYS_GETPPID)
	if err := v.Run(); !errors.Is(err, errApart) {
		t.Errorf("%v", err)
	}
}

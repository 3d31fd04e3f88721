//go:build amd64

package tracee

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

var seed = flag.Uint64("seed", 0, "of the random tests; 0: a new one")

// random returns numbers whose seed is in the test's log.
func random(t testing.TB) *rand.Rand {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("-seed %d", s)
	return rand.New(rand.NewPCG(s, 0))
}

// program is testdata/target.c.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if os.Geteuid() != 0 {
			fmt.Fprintln(os.Stderr, "these tests hold other processes: run them as root")
			return 1
		}
		// What starts the tests may have left descriptors open, which a puppet is
		// not to inherit.
		err := unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		dir, err := os.MkdirTemp("", "ckpt-tracee-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "target")
		if out, err := exec.Command("gcc", "-O1", "-Wall", "-pthread", "-o", program, "testdata/target.c").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "gcc: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// target is a running program of testdata.
type target struct {
	t      *testing.T
	pid    int
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	shared []byte // its counters
}

// startTarget starts it. The test keeps its OS thread from then on: the kernel ties to
// it both what it traces and what is to die with it.
func startTarget(t *testing.T, args ...string) *target {
	t.Helper()
	runtime.LockOSThread()
	fd, err := unix.MemfdCreate("counters", unix.MFD_CLOEXEC)
	memfd := os.NewFile(uintptr(fd), "counters")
	p := &target{t: t, cmd: exec.Command(program, args...)}
	if err == nil {
		err = memfd.Truncate(4096)
	}
	if err == nil {
		p.shared, err = unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	}
	p.cmd.ExtraFiles, p.cmd.SysProcAttr = []*os.File{memfd}, &unix.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true}
	if err == nil {
		p.in, err = p.cmd.StdinPipe()
	}
	if err == nil {
		p.out, err = p.cmd.StdoutPipe()
	}
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	memfd.Close()
	p.pid = p.cmd.Process.Pid
	t.Cleanup(p.kill)
	p.hears()
	return p
}

// kill ends it with all that it has started, which are a process group.
func (p *target) kill() {
	if p.cmd.ProcessState == nil {
		_ = unix.Kill(-p.pid, unix.SIGKILL)
		for unix.Kill(p.pid, 0) == nil && !isZombie(p.pid) { // what is traced by us is ours to reap
			_, _ = unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL|unix.WNOTHREAD, nil)
		}
		_ = p.cmd.Wait()
	}
	if p.shared != nil {
		_ = unix.Munmap(p.shared)
		p.shared = nil
	}
}

func isZombie(pid int) bool {
	stat, err := proc.ReadStat(pid)
	return err != nil || stat.State == 'Z'
}

// hears waits for a byte of its output.
func (p *target) hears() byte {
	p.t.Helper()
	var b [1]byte
	_ = p.out.(*os.File).SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadFull(p.out, b[:]); err != nil {
		p.t.Fatalf("pid %d says nothing: %v", p.pid, err)
	}
	return b[0]
}

// count is one of its counters.
func (p *target) count(i int) uint64 { return binary.NativeEndian.Uint64(p.shared[8*i:]) }

// runs waits until a counter has moved: it runs, and its registers are right.
func (p *target) runs(i int) {
	p.t.Helper()
	was := p.count(i)
	soon(p.t, "its counter to move", func() bool {
		if isZombie(p.pid) {
			p.t.Fatalf("pid %d has ended: %v", p.pid, p.cmd.Wait())
		}
		return p.count(i) != was
	})
}

// soon waits for what must come true.
func soon(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

// sleeps waits until a thread sleeps in a system call.
func sleeps(t testing.TB, pid, nr int) {
	t.Helper()
	soon(t, fmt.Sprintf("pid %d to be in system call %d", pid, nr), func() bool {
		call, err := proc.ReadSyscall(pid, pid)
		return err == nil && call == nr
	})
}

// state is what can be seen of a process from outside that a loan must leave alone.
func (p *target) state() string {
	p.t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", p.pid))
	check(p.t, err)
	fds, err := proc.FDs(p.pid)
	check(p.t, err)
	status, err := proc.ReadStatus(p.pid)
	check(p.t, err)
	return fmt.Sprintf("%s\nfds %v\nblocked %x\ntraced by %d\n", maps, fds, status.SigBlk, status.TracerPid)
}

// settled waits until it looks as before.
func (p *target) settled(before string) {
	p.t.Helper()
	now := ""
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if now = p.state(); now == before {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("pid %d was\n%s\nand is\n%s", p.pid, before, now)
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return v
	}
}

// newGroup returns a group of this OS thread, let go in the end.
func newGroup(t testing.TB) *Group {
	runtime.LockOSThread()
	g := NewGroup(10*time.Second, func(pid, tid int) { t.Errorf("stuck at pid %d, thread %d", pid, tid) })
	t.Cleanup(func() { _ = g.ReleaseAll() })
	return g
}

// held seizes a target's first thread and finds room in it.
func held(t testing.TB, g *Group, pid int) (*Tracee, *Place) {
	t.Helper()
	tr := must(g.Seize(pid, pid))(t)
	check(t, tr.HideStop())
	maps := must(proc.ReadMaps(pid))(t)
	fds := must(proc.FDs(pid))(t)
	return tr, must(tr.FindPlace(maps, fds, 0))(t)
}

// another runs f on an OS thread that ends with it: the tracer dies.
func another(f func()) {
	done := make(chan int)
	go func() {
		runtime.LockOSThread() // and never unlocks it
		defer func() { done <- unix.Gettid() }()
		f()
	}()
	tid := <-done
	for { // the deferred send came before the end of the thread
		if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", tid)); err != nil {
			return
		}
		runtime.Gosched()
	}
}

// settledStub returns a puppet with pages of its own.
func settledStub(t testing.TB) *Puppet {
	t.Helper()
	runtime.LockOSThread()
	p := must(StartStub(false))(t)
	t.Cleanup(func() { _ = p.Tracee().Kill() })
	check(t, p.t.SetSignalMask(^uint64(0))) // children of it may end
	check(t, p.Settle(freeSpace(t, p.t.PID, PuppetBytes)))
	return p
}

// freeSpace finds an address where nothing is mapped.
func freeSpace(t testing.TB, pid int, size uint64) uint64 {
	t.Helper()
	var taken []Range
	for _, m := range must(proc.ReadMaps(pid))(t) {
		taken = append(taken, Range{m.Start, m.End - m.Start})
	}
	hole, ok := Hole(taken, size)
	if !ok {
		t.Fatal("no room")
	}
	return hole.Addr
}

// mapped maps memory in a puppet.
func mapped(t testing.TB, p *Puppet, bytes uint64, prot uint64) uint64 {
	t.Helper()
	return must(p.Call(unix.SYS_MMAP, 0, bytes, prot, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uint64(0), 0))(t)
}

// mappingAt returns what a process has mapped at an address.
func mappingAt(t testing.TB, pid int, addr uint64) *proc.Mapping {
	t.Helper()
	maps := must(proc.ReadMaps(pid))(t)
	i := slices.IndexFunc(maps, func(m proc.Mapping) bool { return m.Start <= addr && addr < m.End })
	if i < 0 {
		return nil
	}
	return &maps[i]
}

// says checks an error's text.
func says(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, not %q", err, want)
	}
}

package testkit

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

//go:embed testdata/target.c
var targetC []byte

// Program is what testdata/target.c was built to.
var Program string

// Main runs the tests of a package, which hold other processes.
func Main(m *testing.M) {
	os.Exit(func() int {
		if os.Geteuid() != 0 {
			fmt.Fprintln(os.Stderr, "these tests hold other processes: run them as root")
			return 1
		}
		// The program that starts the tests may have left descriptors open, which a
		// puppet must not inherit.
		err := unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		dir, err := os.MkdirTemp("", "ckpt-target-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		Program = filepath.Join(dir, "target")
		source := Program + ".c"
		if err := os.WriteFile(source, targetC, 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if out, err := exec.Command("gcc", "-O1", "-Wall", "-pthread", "-o", Program, source).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "gcc: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// Target is testdata/target.c, running.
type Target struct {
	t      *testing.T
	PID    int
	Cmd    *exec.Cmd
	In     io.WriteCloser
	out    io.ReadCloser
	Shared []byte // its counters
}

// StartTarget starts a target. From then on the test keeps its OS thread, to which the kernel
// ties both what it traces and what dies with it.
func StartTarget(t *testing.T, args ...string) *Target {
	t.Helper()
	runtime.LockOSThread()
	fd, err := unix.MemfdCreate("counters", unix.MFD_CLOEXEC)
	memfd := os.NewFile(uintptr(fd), "counters")
	p := &Target{t: t, Cmd: exec.Command(Program, args...)}
	if err == nil {
		err = memfd.Truncate(4096)
	}
	if err == nil {
		p.Shared, err = unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	}
	p.Cmd.ExtraFiles, p.Cmd.SysProcAttr = []*os.File{memfd}, &unix.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true}
	if err == nil {
		p.In, err = p.Cmd.StdinPipe()
	}
	if err == nil {
		p.out, err = p.Cmd.StdoutPipe()
	}
	if err == nil {
		err = p.Cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	memfd.Close()
	p.PID = p.Cmd.Process.Pid
	t.Cleanup(p.Kill)
	p.Hears()
	return p
}

// Kill kills the target and everything it has started, which is a process group.
func (p *Target) Kill() {
	if p.Cmd.ProcessState == nil {
		_ = unix.Kill(-p.PID, unix.SIGKILL)
		for unix.Kill(p.PID, 0) == nil && !IsZombie(p.PID) { // we must reap what we trace
			_, _ = unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL|unix.WNOTHREAD, nil)
		}
		_ = p.Cmd.Wait()
	}
	if p.Shared != nil {
		_ = unix.Munmap(p.Shared)
		p.Shared = nil
	}
}

func IsZombie(pid int) bool {
	stat, err := proc.ReadStat(pid)
	return err != nil || stat.State == 'Z'
}

// Hears waits for a byte of the target's output.
func (p *Target) Hears() byte {
	p.t.Helper()
	var b [1]byte
	_ = p.out.(*os.File).SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadFull(p.out, b[:]); err != nil {
		p.t.Fatalf("pid %d says nothing: %v", p.PID, err)
	}
	return b[0]
}

// Count returns one of the target's counters.
func (p *Target) Count(i int) uint64 { return binary.NativeEndian.Uint64(p.Shared[8*i:]) }

// Runs waits until a counter has moved: then the target runs, and its registers are right.
func (p *Target) Runs(i int) {
	p.t.Helper()
	was := p.Count(i)
	Soon(p.t, "its counter to move", func() bool {
		if IsZombie(p.PID) {
			p.t.Fatalf("pid %d has ended: %v", p.PID, p.Cmd.Wait())
		}
		return p.Count(i) != was
	})
}

// Sleeps waits until a thread sleeps in a system call.
func Sleeps(t testing.TB, pid, nr int) {
	t.Helper()
	Soon(t, fmt.Sprintf("pid %d to be in system call %d", pid, nr), func() bool {
		call, err := proc.ReadSyscall(pid, pid)
		return err == nil && call == nr
	})
}

// State is what can be seen of a process from outside and must not be changed by a loan.
func (p *Target) State() string {
	p.t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", p.PID))
	Check(p.t, err)
	fds, err := proc.FDs(p.PID)
	Check(p.t, err)
	status, err := proc.ReadStatus(p.PID)
	Check(p.t, err)
	return fmt.Sprintf("%s\nfds %v\nblocked %x\ntraced by %d\n", maps, fds, status.SigBlk, status.TracerPid)
}

// Settled waits until the target is in the same state as before.
func (p *Target) Settled(before string) {
	p.t.Helper()
	now := ""
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if now = p.State(); now == before {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("pid %d was\n%s\nand is\n%s", p.PID, before, now)
		}
	}
}

// MappingAt returns what a process has mapped at an address.
func MappingAt(t testing.TB, pid int, addr uint64) *proc.Mapping {
	t.Helper()
	maps := Must(proc.ReadMaps(pid))(t)
	i := slices.IndexFunc(maps, func(m proc.Mapping) bool { return m.Start <= addr && addr < m.End })
	if i < 0 {
		return nil
	}
	return &maps[i]
}

package collect

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/testkit"
)

// programDir is where the first test that needs it builds the program to be saved.
var programDir string

var program = sync.OnceValues(func() (string, error) {
	exe := filepath.Join(programDir, "target")
	out, err := exec.Command("gcc", "-O1", "-Wall", "-pthread", "-o", exe, "../testkit/testdata/target.c").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("gcc: %w\n%s", err, out)
	}
	return exe, err
})

// target is the running program.
type target struct {
	t      *testing.T
	pid    int
	cmd    *exec.Cmd
	shared []byte // its counters
}

// startTarget starts a target. It dies with the test's OS thread, which the test keeps.
func startTarget(t *testing.T, args ...string) *target {
	t.Helper()
	runtime.LockOSThread()
	fd := testkit.Must(unix.MemfdCreate("counters", unix.MFD_CLOEXEC))(t)
	memfd := os.NewFile(uintptr(fd), "counters")
	defer memfd.Close()
	testkit.Check(t, memfd.Truncate(4096))
	p := &target{t: t, cmd: exec.Command(testkit.Must(program())(t), args...)}
	p.shared = testkit.Must(unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED))(t)
	p.cmd.ExtraFiles, p.cmd.SysProcAttr = []*os.File{memfd}, &unix.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true}
	out := testkit.Must(p.cmd.StdoutPipe())(t)
	testkit.Check(t, p.cmd.Start())
	p.pid = p.cmd.Process.Pid
	t.Cleanup(p.kill)
	_ = out.(*os.File).SetReadDeadline(time.Now().Add(time.Minute))
	_, err := io.ReadFull(out, make([]byte, 1))
	testkit.Check(t, err)
	return p
}

// kill kills the target and everything it has started, which is a process group.
func (p *target) kill() {
	if p.cmd.ProcessState == nil {
		_ = unix.Kill(-p.pid, unix.SIGKILL)
		_ = p.cmd.Wait()
	}
	if p.shared != nil {
		_ = unix.Munmap(p.shared)
		p.shared = nil
	}
}

func (p *target) count(i int) uint64 { return binary.NativeEndian.Uint64(p.shared[8*i:]) }

// runs waits until a counter has moved: then the target runs, and its registers are right.
func (p *target) runs(i int) {
	p.t.Helper()
	was := p.count(i)
	testkit.Soon(p.t, "its counter to move", func() bool { return p.count(i) != was })
}

// family lists a process and its descendants.
func family(pid int) []int {
	all := []int{pid}
	children, _ := proc.Children(pid)
	for _, child := range children {
		all = append(all, family(child)...)
	}
	return all
}

// unharmed waits until no process of a tree is traced or stopped.
func (p *target) unharmed() {
	p.t.Helper()
	testkit.Soon(p.t, "nobody to be traced", func() bool {
		for _, pid := range family(p.pid) {
			tids, _ := proc.Threads(pid)
			for _, tid := range tids {
				status, err := proc.ReadThreadStatus(pid, tid)
				if err == nil && (status.TracerPid != 0 || status.State == 't' || status.State == 'T') {
					return false
				}
			}
		}
		return true
	})
}

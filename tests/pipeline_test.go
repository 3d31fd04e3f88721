package tests

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pipeline is a row of programs, each reading from the one before.
type pipeline struct {
	cmds   []*exec.Cmd
	stderr []*bytes.Buffer
}

// startPipeline starts programs as a shell would. in and out may be nil for
// /dev/null.
func startPipeline(t testing.TB, in, out *os.File, lines ...string) *pipeline {
	t.Helper()
	p := &pipeline{}
	for i, line := range lines {
		words := strings.Fields(line)
		cmd := exec.Command(words[0], words[1:]...)
		buf := new(bytes.Buffer)
		cmd.Stderr = buf
		p.cmds, p.stderr = append(p.cmds, cmd), append(p.stderr, buf)
		if i == 0 && in != nil {
			cmd.Stdin = in
		}
		if i == len(lines)-1 && out != nil {
			cmd.Stdout = out
		}
	}
	var ends []*os.File
	for i := range p.cmds[1:] {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p.cmds[i].Stdout, p.cmds[i+1].Stdin = w, r
		ends = append(ends, r, w)
	}
	for _, cmd := range p.cmds {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range ends {
		f.Close()
	}
	return p
}

// wait waits for all and returns their exit statuses, -1 for killed ones.
func (p *pipeline) wait() []int {
	status := make([]int, len(p.cmds))
	for i, cmd := range p.cmds {
		_ = cmd.Wait()
		status[i] = cmd.ProcessState.ExitCode()
	}
	return status
}

// said is what the programs wrote to stderr.
func (p *pipeline) said() string {
	var b strings.Builder
	for _, s := range p.stderr {
		b.Write(s.Bytes())
	}
	return b.String()
}

// runPipeline starts a pipeline and waits for it.
func runPipeline(t testing.TB, in, out *os.File, lines ...string) ([]int, string) {
	t.Helper()
	p := startPipeline(t, in, out, lines...)
	status := p.wait()
	return status, p.said()
}

// worker is a program in the middle of a computation with a known result.
type worker struct {
	t    *testing.T
	dir  string
	cmd  *exec.Cmd
	done chan struct{}
}

// workSeconds is about how long a worker works.
const workSeconds = 6

// startWorker starts a program that writes a line for each part of its work and
// its sum in the end.
func startWorker(t *testing.T, dir string) *worker { return startWorkerApart(t, dir, 0) }

// startWorkerApart starts one in namespaces of its own, which these CLONE_NEW flags make.
func startWorkerApart(t *testing.T, dir string, flags uintptr) *worker {
	t.Helper()
	w := &worker{t: t, dir: dir, done: make(chan struct{})}
	w.cmd = exec.Command(buildC(t, "worker.c"), fmt.Sprint(workSeconds*1000))
	w.cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Cloneflags: flags}
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w.cmd.Stdout = out
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = w.cmd.Wait(); close(w.done) }()
	t.Cleanup(w.kill)
	return w
}

func (w *worker) pid() int { return w.cmd.Process.Pid }

func (w *worker) kill() {
	_ = unix.Kill(w.pid(), unix.SIGKILL)
	if w.cmd.Process != nil {
		<-w.done
	}
}

// works waits until the worker has made progress.
func (w *worker) works() {
	w.t.Helper()
	lines := func() int {
		b, _ := os.ReadFile(filepath.Join(w.dir, "out"))
		return bytes.Count(b, []byte("\n"))
	}
	before := lines()
	for end := time.Now().Add(time.Minute); lines() <= before && !w.ended(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("pid %d does not get on", w.pid())
		}
	}
}

// ended reports whether the worker has ended.
func (w *worker) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// result waits for the worker and returns its output.
func (w *worker) result() string {
	select {
	case <-w.done:
	case <-time.After(2 * time.Minute):
		w.t.Fatalf("pid %d does not end", w.pid())
	}
	b, err := os.ReadFile(filepath.Join(w.dir, "out"))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// expected is the output of a worker that was not disturbed.
func expected(t *testing.T) string {
	t.Helper()
	out, err := exec.Command(buildC(t, "worker.c"), fmt.Sprint(workSeconds*1000)).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

var buildMu sync.Mutex

// buildC compiles a program of testdata into the folder of the tools, once.
func buildC(t testing.TB, name string, flags ...string) string {
	t.Helper()
	buildMu.Lock()
	defer buildMu.Unlock()
	exe := filepath.Join(binDir, "test-"+strings.TrimSuffix(filepath.Base(name), ".c"))
	if _, err := os.Stat(exe); err == nil {
		return exe
	}
	args := append([]string{"-O1", "-Wall", "-pthread", "-o", exe, filepath.Join("testdata", name)}, flags...)
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc %s: %v\n%s", name, err, out)
	}
	return exe
}

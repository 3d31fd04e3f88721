package tests

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// binDir holds the programs under test, built once.
var binDir string

// reapedEnv is set in the process that runs the tests.
const reapedEnv = "CKPT_TESTS_REAPED"

func TestMain(m *testing.M) {
	if os.Getenv(reapedEnv) == "" {
		os.Exit(reap())
	}
	os.Exit(run(m))
}

// reap runs the tests in a child and waits for whatever loses its parent on the
// way, as an init would: not every machine has one that does.
func reap() int {
	err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	if err == nil {
		err = os.Setenv(reapedEnv, "1")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	runtime.LockOSThread() // the child dies with the thread that started it
	p, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT)
	go func() {
		for s := range signals {
			_ = unix.Kill(p.Pid, s.(unix.Signal))
		}
	}()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			fmt.Fprintln(os.Stderr, os.NewSyscallError("wait4", err))
			return 1
		case pid == p.Pid && ws.Signaled():
			endAll()
			return 128 + int(ws.Signal())
		case pid == p.Pid:
			endAll()
			return ws.ExitStatus()
		}
	}
}

// endAll ends what tests that failed have left behind: all of it is ours now.
func endAll() {
	for range 1000 {
		left, err := proc.Children(os.Getpid())
		if err != nil || len(left) == 0 {
			return
		}
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
			_, _ = unix.Wait4(pid, nil, 0, nil)
		}
	}
}

func run(m *testing.M) int {
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests checkpoint and restore processes: run them as root")
		return 1
	}
	dir, err := os.MkdirTemp("", "ckpt-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binDir = dir
	build := exec.Command("go", "build", "-trimpath", "-o", dir, "ckpt/cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the tools: %v\n%s", err, out)
		return 1
	}
	os.Setenv("PATH", dir+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	// What starts the tests may have left descriptors open, which the programs
	// under test are not to inherit.
	if err := unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	undo, err := raisePIDMax()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer undo()
	return m.Run()
}

// raisePIDMax keeps process ids from wrapping around while the tests run: a
// killed target must get its own back, and they start thousands of others. It
// returns what puts the limit back.
func raisePIDMax() (undo func(), err error) {
	const file, most = "/proc/sys/kernel/pid_max", "4194304"
	old, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return func() { _ = os.WriteFile(file, old, 0) }, os.WriteFile(file, []byte(most), 0)
}

// scripts runs the scripts that match a pattern of testdata.
func scripts(t *testing.T, pattern string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts match %s (%v)", pattern, err)
	}
	testscript.Run(t, testscript.Params{
		Files: files,
		Setup: func(env *testscript.Env) error {
			// The scripts' programs must be Debian's, whatever else is installed.
			env.Setenv("PATH", os.Getenv("PATH"))
			env.Setenv("LC_ALL", "C.UTF-8")
			env.Setenv("PID", "0")
			env.Values[targetsKey] = &targets{}
			env.Defer(func() { env.Values[targetsKey].(*targets).killAll() })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start":     cmdStart,
			"reference": cmdReference,
			"moment":    cmdMoment,
			"alive":     cmdAlive,
			"gen":       cmdGen,
			"ended":     cmdEnded,
			"expect":    cmdExpect,

			"startpiped": cmdStartPiped,
			"stderr_has": cmdStderrHas,
			"stdout_is":  cmdStdoutIs,
			"errors":     cmdErrors,
		},
	})
}

// TestPrograms stops programs that nobody wrote for the purpose at random
// moments of their work, five times each, kills them, restores them, and
// compares what they wrote in the end with an uninterrupted run.
func TestPrograms(t *testing.T) {
	for round := range 4 {
		t.Run(fmt.Sprintf("moment-%d", round+1), func(t *testing.T) { scripts(t, "programs/*.txt") })
	}
}

// TestScripts runs everything else that is written as a script.
func TestScripts(t *testing.T) { scripts(t, "scripts/*.txt") }

package tests

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// binDir holds the programs under test, built once.
var binDir string

func TestMain(m *testing.M) { os.Exit(run(m)) }

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
	// Restored programs whose ckpt-apply has left or died become our children:
	// not every machine has an init that reaps.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// What starts the tests may have left descriptors open, which the programs
	// under test are not to inherit.
	if err := unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
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
		},
	})
}

// TestPrograms stops programs that nobody wrote for the purpose at random
// moments of their work, five times each, kills them, restores them, and
// compares what they wrote in the end with an uninterrupted run.
func TestPrograms(t *testing.T) {
	for round := range 5 {
		t.Run(fmt.Sprintf("moment-%d", round+1), func(t *testing.T) { scripts(t, "programs/*.txt") })
	}
}

// TestScripts runs everything else that is written as a script.
func TestScripts(t *testing.T) { scripts(t, "scripts/*.txt") }

type targetsKeyType struct{}

var targetsKey = targetsKeyType{}

// targets are the programs a script started.
type targets struct {
	duration time.Duration // of the reference run
	all      []*target
}

type target struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

func (ts *targets) killAll() {
	for _, t := range ts.all {
		_ = unix.Kill(t.cmd.Process.Pid, unix.SIGKILL)
		<-t.done
	}
}

func of(ts *testscript.TestScript) *targets { return ts.Value(targetsKey).(*targets) }

// command parses "prog args <in >out 2>err": redirections to files of the
// script's folder. What is not named is /dev/null. It has no other descriptor
// and a session of its own.
func command(ts *testscript.TestScript, args []string) (*exec.Cmd, []*os.File) {
	var rest []string
	io := map[string]string{"<": "/dev/null", ">": "/dev/null", "2>": "/dev/null"}
	for _, a := range args {
		switch {
		case len(a) > 2 && a[:2] == "2>":
			io["2>"] = a[2:]
		case len(a) > 1 && (a[0] == '<' || a[0] == '>'):
			io[a[:1]] = a[1:]
		default:
			rest = append(rest, a)
		}
	}
	path, err := exec.LookPath(rest[0])
	if filepath.Base(rest[0]) != rest[0] {
		path, err = ts.MkAbs(rest[0]), nil
	}
	ts.Check(err)
	cmd := &exec.Cmd{Path: path, Args: rest, Dir: ts.MkAbs("."), Env: []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"},
		SysProcAttr: &unix.SysProcAttr{Setsid: true}}
	var files []*os.File
	open := func(name string, flags int) *os.File {
		f, err := os.OpenFile(ts.MkAbs(name), flags, 0o644)
		ts.Check(err)
		files = append(files, f)
		return f
	}
	cmd.Stdin = open(io["<"], os.O_RDONLY)
	cmd.Stdout = open(io[">"], os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	cmd.Stderr = open(io["2>"], os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	return cmd, files
}

// cmdStart starts a program in the background; $PID is its process id. When it
// ends it is reaped.
func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	cmd, files := command(ts, args)
	ts.Check(cmd.Start())
	for _, f := range files {
		f.Close()
	}
	t := &target{cmd: cmd, done: make(chan struct{})}
	go func() { t.err = cmd.Wait(); close(t.done) }()
	all := of(ts)
	all.all = append(all.all, t)
	ts.Setenv("PID", fmt.Sprint(cmd.Process.Pid))
}

// cmdReference runs a program without interruption and notes how long it took.
func cmdReference(ts *testscript.TestScript, neg bool, args []string) {
	cmd, files := command(ts, args)
	begin := time.Now()
	ts.Check(cmd.Run())
	of(ts).duration = time.Since(begin)
	for _, f := range files {
		f.Close()
	}
}

// cmdMoment waits for a random part of the reference run's time, or with two
// arguments between those.
func cmdMoment(ts *testscript.TestScript, neg bool, args []string) {
	low, high := of(ts).duration/20, of(ts).duration*2/5
	if len(args) == 2 {
		var err error
		low, err = time.ParseDuration(args[0])
		ts.Check(err)
		high, err = time.ParseDuration(args[1])
		ts.Check(err)
	}
	d := low + time.Duration(rand.Int64N(int64(high-low)+1))
	ts.Logf("moment: %v", d)
	time.Sleep(d)
}

// cmdAlive fails unless the program last started runs, is not stopped, and has
// no tracer; "! alive" unless it has ended.
func cmdAlive(ts *testscript.TestScript, neg bool, args []string) {
	t := of(ts).all[len(of(ts).all)-1]
	if neg {
		select {
		case <-t.done:
		case <-time.After(5 * time.Second):
			ts.Fatalf("pid %d still lives", t.cmd.Process.Pid)
		}
		return
	}
	if err := unharmed(t.cmd.Process.Pid); err != nil {
		ts.Fatalf("%v", err)
	}
}

// cmdEnded waits for the program last started to end by itself, with success.
func cmdEnded(ts *testscript.TestScript, neg bool, args []string) {
	t := of(ts).all[len(of(ts).all)-1]
	select {
	case <-t.done:
	case <-time.After(2 * time.Minute):
		ts.Fatalf("pid %d does not end", t.cmd.Process.Pid)
	}
	ts.Check(t.err)
}

// cmdGen makes an input: gen text FILE MB, gen sparse FILE MB.
func cmdGen(ts *testscript.TestScript, neg bool, args []string) {
	var mb int
	_, err := fmt.Sscan(args[2], &mb)
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	defer f.Close()
	if args[0] == "sparse" {
		ts.Check(f.Truncate(int64(mb) << 20))
		return
	}
	ts.Check(writeText(f, mb<<20))
}

// cmdExpect runs a shell command line and compares its exit status.
func cmdExpect(ts *testscript.TestScript, neg bool, args []string) {
	cmd := exec.Command("bash", "-c", args[1])
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "PID="+ts.Getenv("PID"), "LC_ALL=C.UTF-8")
	out, err := os.Create(ts.MkAbs("stdout"))
	ts.Check(err)
	defer out.Close()
	errf, err := os.Create(ts.MkAbs("stderr"))
	ts.Check(err)
	defer errf.Close()
	cmd.Stdout, cmd.Stderr = out, errf
	_ = cmd.Run()
	text, _ := os.ReadFile(ts.MkAbs("stderr"))
	ts.Logf("%s", text)
	if got := fmt.Sprint(cmd.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("exit status %s, want %s", got, args[0])
	}
}

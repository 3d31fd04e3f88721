package tests

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

type targetsKeyType struct{}

var targetsKey = targetsKeyType{}

// targets are the programs a script started.
type targets struct {
	duration time.Duration // of the reference run
	rng      *rand.Rand
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
		for _, pid := range sessionOf(t.cmd.Process.Pid) { // its children
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// sessionOf lists the processes of a session.
func sessionOf(sid int) (pids []int) {
	all, _ := proc.Processes()
	for _, pid := range all {
		if stat, err := proc.ReadStat(pid); err == nil && stat.Session == sid {
			pids = append(pids, pid)
		}
	}
	return pids
}

func of(ts *testscript.TestScript) *targets { return ts.Value(targetsKey).(*targets) }

// command parses "prog args <in >out 2>err": redirections to files of the
// script's folder, /dev/null by default. The program has no other descriptors, and a
// session of its own.
func command(ts *testscript.TestScript, args []string) (*exec.Cmd, []*os.File) {
	var rest []string
	redirect := map[string]string{"<": "/dev/null", ">": "/dev/null", "2>": "/dev/null"}
	for _, a := range args {
		switch {
		case len(a) > 2 && a[:2] == "2>":
			redirect["2>"] = a[2:]
		case len(a) > 1 && (a[0] == '<' || a[0] == '>'):
			redirect[a[:1]] = a[1:]
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
	cmd.Stdin = open(redirect["<"], os.O_RDONLY)
	cmd.Stdout = open(redirect[">"], os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	cmd.Stderr = open(redirect["2>"], os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	return cmd, files
}

// cmdStart starts a program in the background; $PID is its process id. When it
// ends it is reaped.
func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	cmd, files := command(ts, args)
	launch(ts, cmd, files)
}

func launch(ts *testscript.TestScript, cmd *exec.Cmd, files []*os.File) {
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

// references are the outcomes of reference runs, by script and command: the same
// script runs several times.
var references sync.Map

type outcome struct {
	once     sync.Once
	duration time.Duration
	out      []byte
	err      error
}

// cmdReference runs a program without interruption and notes how long it worked.
func cmdReference(ts *testscript.TestScript, neg bool, args []string) {
	o := &outcome{}
	if slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, ">") }) { // has no outcome but its output
		v, _ := references.LoadOrStore(ts.Name()+"\x00"+strings.Join(args, "\x00"), o)
		o = v.(*outcome)
	}
	cmd, files := command(ts, args)
	out := files[1]
	o.once.Do(func() {
		if o.err = cmd.Run(); o.err != nil {
			return
		}
		// CPU time, since the machine may be less busy in the next run.
		o.duration = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		o.out, o.err = os.ReadFile(out.Name())
	})
	ts.Check(o.err)
	of(ts).duration = o.duration
	if out.Name() != os.DevNull {
		ts.Check(os.WriteFile(out.Name(), o.out, 0o644))
	}
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
	begin := time.Now()
	moment(of(ts).rng, low, high+1)
	ts.Logf("moment: %v", time.Since(begin))
}

// cmdAlive fails unless the program last started runs, is not stopped, and has
// no tracer; "! alive" unless it has ended.
func cmdAlive(ts *testscript.TestScript, neg bool, args []string) {
	t := of(ts).all[len(of(ts).all)-1]
	if neg {
		select {
		case <-t.done:
		case <-time.After(time.Minute):
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

// cmdSettled waits until the program last started, with all that it has started, does
// nothing but wait: its tree is the same and has not run for a moment. One that
// never does that is given two seconds to begin.
func cmdSettled(ts *testscript.TestScript, neg bool, args []string) {
	all := of(ts).all
	pid := all[len(all)-1].cmd.Process.Pid
	last := ""
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		now := activity(pid)
		if now == last && !strings.Contains(now, " R") {
			return
		}
		last = now
	}
	ts.Logf("it does not stand still:\n%s", last)
}

// activity tells of each thread of a tree its state and how long it has run.
func activity(pid int) string {
	var b strings.Builder
	tids, _ := proc.Threads(pid)
	for _, tid := range tids {
		stat, _ := proc.ReadThreadStat(pid, tid)
		ran, _ := proc.Activity(pid, tid)
		fmt.Fprintf(&b, "%d %c %s %s\n", tid, stat.State, stat.Comm, ran)
	}
	children, _ := proc.Children(pid)
	for _, child := range children {
		b.WriteString(activity(child))
	}
	return b.String()
}

// longestLine is how long a command line of a script may take.
const longestLine = 10 * time.Minute

// cmdExpect runs a shell command line and compares its exit status.
func cmdExpect(ts *testscript.TestScript, neg bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), longestLine)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", args[1])
	cmd.Cancel = func() error {
		tree, _ := exec.Command("ps", "-e", "-o", "pid,ppid,stat,wchan:20,args", "--forest").Output()
		ts.Logf("it takes more than %v; there are\n%s", longestLine, tree)
		return cmd.Process.Kill()
	}
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "PID="+ts.Getenv("PID"), "LC_ALL=C.UTF-8")
	out, err := os.Create(ts.MkAbs(".stdout"))
	ts.Check(err)
	defer out.Close()
	errf, err := os.Create(ts.MkAbs(".stderr"))
	ts.Check(err)
	defer errf.Close()
	cmd.Stdout, cmd.Stderr = out, errf
	_ = cmd.Run()
	text, _ := os.ReadFile(ts.MkAbs(".stderr"))
	ts.Logf("%s", text)
	if got := fmt.Sprint(cmd.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("exit status %s, want %s", got, args[0])
	}
}

// cmdStartPiped is start for a program whose standard output is a pipe that
// somebody outside reads.
func cmdStartPiped(ts *testscript.TestScript, neg bool, args []string) {
	r, w, err := os.Pipe()
	ts.Check(err)
	cmd, files := command(ts, args)
	cmd.Stdout = w
	launch(ts, cmd, append(files, w))
	go func() { _, _ = io.Copy(io.Discard, r); r.Close() }()
}

// cmdStderrHas looks for a regular expression in what expect's command said.
func cmdStderrHas(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile(ts.MkAbs(".stderr"))
	if regexp.MustCompile(args[0]).MatchString(text) == neg {
		ts.Fatalf("stderr of the last command, looking for %q (not: %v):\n%s", args[0], neg, text)
	}
}

// cmdStdoutIs compares what expect's command printed.
func cmdStdoutIs(ts *testscript.TestScript, neg bool, args []string) {
	if got := strings.TrimSpace(ts.ReadFile(ts.MkAbs(".stdout"))); got != args[0] {
		ts.Fatalf("stdout of the last command is %q, want %q", got, args[0])
	}
}

// cmdErrors counts the errors that expect's command reported.
func cmdErrors(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile(ts.MkAbs(".stderr"))
	if got := strings.Count(text, ": error: "); fmt.Sprint(got) != args[0] {
		ts.Fatalf("%d errors, want %s:\n%s", got, args[0], text)
	}
}

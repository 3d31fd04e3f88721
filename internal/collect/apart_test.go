package collect

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/testkit"
	"ckpt/stream"
	"ckpt/stream/record"
)

const (
	// toolEnv makes the test program ckpt-collect, and what that starts.
	toolEnv = "CKPT_TEST_COLLECT"
	// coverEnv is the folder for what that covers, see make cover.
	coverEnv = "CKPT_COVER_DIR"
)

// toolArgs are the arguments of the test program that is ckpt-collect.
var toolArgs []string

var toolStatus int

// beTool is ckpt-collect. What it covers is written by the package testing, at the end of a test.
func beTool(m *testing.M) int {
	dir := os.Getenv(coverEnv)
	if dir == "" {
		return Main(os.Args)
	}
	toolArgs = os.Args
	os.Args = []string{os.Args[0], "-test.run=^TestTool$", "-test.gocoverdir=" + dir}
	return max(m.Run(), toolStatus)
}

// TestTool is all that ckpt-collect does.
func TestTool(t *testing.T) {
	if toolArgs == nil {
		return
	}
	os.Args = toolArgs
	toolStatus = Main(toolArgs)
	os.Stdout = testkit.Must(os.OpenFile(os.DevNull, os.O_WRONLY, 0))(t) // where it says PASS
}

// run runs ckpt-collect, by way of another program if wrap is not empty, with its output in a file.
func run(t *testing.T, out *os.File, wrap []string, args ...string) (status int, said string) {
	t.Helper()
	exe := testkit.Must(os.Executable())(t)
	var b bytes.Buffer
	all := slices.Concat(wrap, []string{exe}, args)
	cmd := exec.Command(all[0], all[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), toolEnv+"=1"), out, &b
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), b.String()
}

// collected saves a target and returns the records, by type.
func collected(t *testing.T, pid string) map[record.Type]int {
	t.Helper()
	out := testkit.Must(os.Create(filepath.Join(t.TempDir(), "stream")))(t)
	defer out.Close()
	if status, said := run(t, out, nil, pid); status != 0 {
		t.Fatalf("status %d: %s", status, said)
	}
	_ = testkit.Must(out.Seek(0, 0))(t)
	types := map[record.Type]int{}
	for rec, err := range stream.NewReader(out).Records(t.Context()) {
		testkit.Check(t, err)
		types[rec.Type]++
	}
	return types
}

// startIn starts a program in namespaces of its own.
func startIn(t *testing.T, flags uintptr, args ...string) int {
	t.Helper()
	runtime.LockOSThread()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL, Setsid: true, Cloneflags: flags}
	testkit.Check(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	testkit.Soon(t, "the program to sleep", func() bool {
		stat, err := proc.ReadStat(cmd.Process.Pid)
		return err == nil && stat.Comm == "sleep" && stat.State == 'S'
	})
	return cmd.Process.Pid
}

// TestApart: the init of a pid namespace, with others of its own, is described from outside, and
// runs on.
func TestApart(t *testing.T) {
	const all = unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP
	for name, c := range map[string]struct {
		flags uintptr
		want  []record.Type
	}{
		"pid":     {unix.CLONE_NEWPID, []record.Type{record.TypeNamespace, record.TypeTask}},
		"all":     {all | unix.CLONE_NEWNS, []record.Type{record.TypeNamespace, record.TypeLink, record.TypeNetSysctls, record.TypeMount, record.TypeFilesystem}},
		"network": {unix.CLONE_NEWPID | unix.CLONE_NEWNET, []record.Type{record.TypeNamespace, record.TypeLink, record.TypeNetSysctls}},
		"mounts":  {unix.CLONE_NEWNS, []record.Type{record.TypeNamespace, record.TypeMount}},
	} {
		t.Run(name, func(t *testing.T) {
			target := startIn(t, c.flags, "sleep", "1000")
			pid := strconv.Itoa(target)
			if status, said := run(t, nil, nil, "--dry-run", pid); status != 0 || !strings.Contains(said, "can be saved") {
				t.Errorf("a dry run: status %d: %s", status, said)
			}
			types := collected(t, pid)
			for _, typ := range c.want {
				if types[typ] == 0 {
					t.Errorf("there is no %v: %v", typ, types)
				}
			}
			for _, r := range []struct {
				wrap, args []string
				says       string
			}{
				{nil, []string{"--leave", "killed"}, "no filter that stores the image took the hold"},
				{[]string{"setpriv", "--bounding-set=-all", "--inh-caps=-all"}, []string{"--dry-run"}, "missing"},
			} {
				if status, said := run(t, testkit.Must(os.Create(filepath.Join(t.TempDir(), "no")))(t), r.wrap, append(r.args, pid)...); status == 0 || !strings.Contains(said, r.says) {
					t.Errorf("%v: status %d, not said: %q: %s", r, status, r.says, said)
				}
			}
			if stat := testkit.Must(proc.ReadStat(target))(t); stat.State != 'S' {
				t.Errorf("the target is in state %c", stat.State)
			}
		})
	}
}

// TestMembers: who could get capabilities from the one inside is named, also if he is not the
// target.
func TestMembers(t *testing.T) {
	const pids = unix.CLONE_NEWPID
	target := startIn(t, pids, "setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=+sys_ptrace", "--ambient-caps=+sys_ptrace", "sleep", "1000")
	status, said := run(t, nil, nil, "--dry-run", strconv.Itoa(target))
	if status != 3 || !strings.Contains(said, "in which CAP_SYS_PTRACE is had, or can be got, by pid "+strconv.Itoa(target)+" (sleep)") {
		t.Errorf("status %d: %s", status, said)
	}
}

// TestTrees: what is said of trees of several processes.
func TestTrees(t *testing.T) {
	for name, c := range map[string]struct {
		flags  uintptr
		script string // ends as sleep
		status int
		says   string
	}{
		"a zombie":            {unix.CLONE_NEWPID, "true & exec sleep 1000", 0, "can be saved"},
		"a stopped child":     {0, "sh -c 'kill -STOP $$' & exec sleep 1000", 0, "can be saved"},
		"a child apart":       {0, "unshare --pid --fork --mount --uts sleep 1001 & until pgrep -x -f 'sleep 1001' >/dev/null; do :; done; exec sleep 1000", 3, "it is the init of a pid namespace: save that"},
		"another user's":      {unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUSER, "exec sleep 1000", 3, "is in another user namespace than ckpt-collect"},
		"a nested child":      {unix.CLONE_NEWPID, "unshare --pid --fork sleep 1002 & until pgrep -x -f 'sleep 1002' >/dev/null; do :; done; exec sleep 1000", 3, "namespace"},
		"a network of others": {unix.CLONE_NEWPID, "unshare --net sleep 1003 & until pgrep -x -f 'sleep 1003' >/dev/null; do :; done; exec sleep 1000", 3, "is in another network namespace than ckpt-collect"},
	} {
		t.Run(name, func(t *testing.T) {
			target := startIn(t, c.flags, "sh", "-c", c.script)
			status, said := run(t, nil, nil, "--dry-run", "--leave", "killed", strconv.Itoa(target))
			if status != c.status || !strings.Contains(said, c.says) {
				t.Errorf("status %d, want %d with %q: %s", status, c.status, c.says, said)
			}
			_ = unix.Kill(-target, unix.SIGKILL)
		})
	}
}

// TestGuests: who came into namespaces of the target from elsewhere is named.
func TestGuests(t *testing.T) {
	target := startIn(t, unix.CLONE_NEWPID|unix.CLONE_NEWIPC, "sh", "-c", "ipcmk -M 4096 -Q -S 2 >&2 && exec sleep 1000")
	pid := strconv.Itoa(target)
	if status, said := run(t, nil, nil, "--dry-run", pid); status != 0 {
		t.Errorf("alone: status %d: %s", status, said)
	}
	startIn(t, 0, "nsenter", "--target", pid, "--pid", "--no-fork", "sh", "-c", "sleep 1004 & exec sleep 1000")
	startIn(t, 0, "nsenter", "--target", pid, "--ipc", "sleep", "1000")
	status, said := run(t, nil, nil, "--dry-run", "--leave", "killed", pid)
	for _, says := range []string{"does not descend from its init", "is in an IPC namespace in which pid"} {
		if status != 3 || !strings.Contains(said, says) {
			t.Errorf("status %d, not said: %q: %s", status, says, said)
		}
	}
}

// TestOptions: what ckpt-collect does and says besides.
func TestOptions(t *testing.T) {
	target := strconv.Itoa(startIn(t, 0, "sleep", "1000"))
	apart := strconv.Itoa(startIn(t, unix.CLONE_NEWPID, "sleep", "1000"))
	full := testkit.Must(os.OpenFile("/dev/full", os.O_WRONLY, 0))(t)
	nobody := func() *os.File { // reads this
		r, w, err := os.Pipe()
		testkit.Check(t, err)
		testkit.Check(t, r.Close())
		return w
	}
	file := func() *os.File { return testkit.Must(os.Create(filepath.Join(t.TempDir(), "out")))(t) }
	for _, c := range []struct {
		out    *os.File
		args   []string
		status int
		says   string
	}{
		{file(), []string{"-v", target}, 0, "stopped after"},
		{file(), []string{"-v", apart}, 0, "works in there"},
		{file(), []string{"--tcp", "keep", target}, 0, ""},
		{file(), []string{"--leave", "stopped", target}, 0, ""},
		{file(), []string{"--leave", "stopped", apart}, 0, ""},
		{nil, []string{"--dry-run", "4194300"}, 1, "there is no process 4194300"},
		{nil, []string{"--dry-run", "2"}, 3, "2"},
		{nil, []string{"--dry-run", "none"}, 2, "none"},
		{nil, []string{"--dry-run", "--leave", "burning", target}, 2, "burning"},
		{full, []string{target}, 1, "no space left"},
		{full, []string{apart}, 1, "no space left"},
		{nobody(), []string{apart}, 128 + int(unix.SIGPIPE), ""},
	} {
		if status, said := run(t, c.out, nil, c.args...); status != c.status || !strings.Contains(said, c.says) {
			t.Errorf("%v: status %d, want %d with %q: %s", c.args, status, c.status, c.says, said)
		}
	}
}

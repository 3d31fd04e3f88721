package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/kcmp"
	"ckpt/internal/proc"
)

// feature is a program of testdata/c in a folder of its own. It prints "ready", is
// saved, killed and restored, and prints "pass" or what is different.
type feature struct {
	t     *testing.T
	dir   string
	args  []string
	pid   int
	flags string        // more of ckpt-collect
	moves bool          // what /proc shows of it changes by itself, with time
	goes  string        // the file below dir that it waits for
	wake  func(pid int) // wakes it, instead of the file
	apart uintptr       // CLONE_NEW flags: it is started in namespaces of its own, the init of one
}

// run saves, kills and restores the program, and checks what /proc shows of it and
// what it prints.
func (f *feature) run() {
	t := f.t
	t.Helper()
	f.start()
	var before snapshot
	if !f.moves {
		before = takeSnapshot(f.pid)
	}
	f.save("killed")
	apply := f.restore()
	if !f.moves {
		before.compare(t, takeSnapshot(f.pid))
	}
	f.proceed()
	f.judge(apply)
}

// start runs the program until it is ready.
func (f *feature) start() {
	t := f.t
	t.Helper()
	if f.dir == "" {
		f.dir = t.TempDir()
	}
	out, err := os.Create(filepath.Join(f.dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := &exec.Cmd{Path: f.args[0], Args: f.args, Dir: f.dir, Stdout: out, Stderr: out,
		Env: []string{"LC_ALL=C.UTF-8"}, SysProcAttr: &unix.SysProcAttr{Setsid: true, Cloneflags: f.apart}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.pid = cmd.Process.Pid
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		_ = unix.Kill(f.pid, unix.SIGKILL)
		<-done
	})
	for range 12000 {
		if f.output() != "" {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("it does not get ready")
}

func (f *feature) output() string {
	b, _ := os.ReadFile(filepath.Join(f.dir, "out"))
	return string(b)
}

// goesToWait gives a program that is ready time to enter the call that it waits in,
// if it waits in one.
func (f *feature) goesToWait() {
	for range 20 {
		if asleep(f.pid) {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// waitsOn waits until a restored program sleeps in its call again.
func (f *feature) waitsOn() {
	f.t.Helper()
	for range 12000 {
		if asleep(f.pid) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	f.t.Errorf("pid %d does not wait", f.pid)
}

// asleep reports whether all threads of a process sleep.
func asleep(pid int) bool {
	tids, err := proc.Threads(pid)
	for _, tid := range tids {
		stat, terr := proc.ReadThreadStat(pid, tid)
		err = errors.Join(err, terr)
		if stat.State != 'S' && (tid != pid || proc.Living(pid) == pid) {
			return false
		}
	}
	return err == nil
}

// save runs the first half of the main job.
func (f *feature) save(leave string) {
	f.t.Helper()
	if f.output() != "ready\n" {
		f.t.Fatalf("it is not ready but says:\n%s", f.output())
	}
	f.goesToWait()
	f.shell(fmt.Sprintf("ckpt-collect %s --leave %s %d | ckpt-dedup | ckpt-write > img", f.flags, leave, f.pid))
	for i := 0; leave == "killed" && !gone(f.pid); i++ {
		if i > 500 {
			f.t.Fatalf("pid %d was not killed", f.pid)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (f *feature) shell(line string) {
	f.t.Helper()
	cmd := exec.Command("bash", "-c", "set -o pipefail; "+line)
	cmd.Dir = f.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		f.t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// restore runs the second half and returns when the program lives again.
func (f *feature) restore(options ...string) *pipeline {
	f.t.Helper()
	img, err := os.Open(filepath.Join(f.dir, "img"))
	if err != nil {
		f.t.Fatal(err)
	}
	defer img.Close()
	p := startPipeline(f.t, img, nil, "ckpt-read", strings.Join(append([]string{"ckpt-apply"}, options...), " "))
	for range 12000 {
		if f.apart == 0 && unharmed(f.pid) == nil || f.apart != 0 {
			break
		}
		if f.ended(p) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	return p
}

func (f *feature) ended(p *pipeline) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmds[1].Process.Pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}

// proceed tells the program that it has been restored.
func (f *feature) proceed() {
	if f.wake != nil {
		f.wake(f.pid)
		return
	}
	name := f.goes
	if name == "" {
		name = "go"
	}
	// Not truncated: the program may have it mapped.
	file, err := os.OpenFile(filepath.Join(f.dir, name), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Write([]byte{1}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *feature) judge(p *pipeline) {
	f.t.Helper()
	done := make(chan []int)
	go func() { done <- p.wait() }()
	select {
	case status := <-done:
		if status[0] != 0 || status[1] != 0 {
			f.t.Errorf("exit statuses %v\n%s", status, p.said())
		}
	case <-time.After(2 * time.Minute):
		_ = unix.Kill(f.pid, unix.SIGKILL)
		<-done
		f.t.Errorf("it does not end\n%s", p.said())
	}
	if got := f.output(); got != "ready\npass\n" {
		f.t.Errorf("it says:\n%s", got)
	}
}

// apart are the programs of testdata/c that need more than to be started and woken
// by the file "go".
var apart = []string{"registers", "chroot", "exe", "sharing", "syscalls", "tty", "waits_often", "paths", "keyring", "fuse", "tcp_kept", "pid_namespace", "uts_namespace", "cgroup_namespace", "netns_sockets", "netns_links", "netns_routes", "netns_sysctls", "init_thief"}

// moving are those of which what /proc shows changes by itself, with time.
var moving = []string{"waits_left", "waits_children", "tcp_connecting", "spawns"}

// featurePrograms are all others.
func featurePrograms(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("testdata/c/*.c")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: no programs", err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".c"); !slices.Contains(apart, name) && !strings.HasPrefix(name, "ipc_") {
			names = append(names, name)
		}
	}
	return names
}

func TestFeatures(t *testing.T) {
	for _, name := range featurePrograms(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			(&feature{t: t, args: []string{buildC(t, "c/"+name+".c")}, moves: slices.Contains(moving, name)}).run()
		})
	}
	t.Run("registers", func(t *testing.T) {
		t.Parallel()
		(&feature{t: t, args: []string{buildC(t, "c/registers.c")}, goes: "spin"}).run()
	})
	t.Run("chroot", func(t *testing.T) {
		t.Parallel()
		(&feature{t: t, args: []string{buildC(t, "c/chroot.c")}, goes: "jail/go"}).run()
	})
	t.Run("keyring", func(t *testing.T) {
		t.Parallel()
		program := buildC(t, "c/keyring.c")
		f := &feature{t: t, args: []string{program}}
		f.start()
		f.save("killed")
		img, err := os.Open(filepath.Join(f.dir, "img"))
		if err != nil {
			t.Fatal(err)
		}
		defer img.Close()
		p := startPipeline(t, img, nil, "ckpt-read", program+" ckpt-apply")
		f.proceed()
		f.judge(p)
	})
	t.Run("tcp_kept", func(t *testing.T) {
		t.Parallel()
		(&feature{t: t, args: []string{buildC(t, "c/tcp_kept.c")}, flags: "--tcp keep"}).run()
	})
	t.Run("exe", func(t *testing.T) {
		t.Parallel()
		f := &feature{t: t, dir: t.TempDir()}
		exe := filepath.Join(f.dir, "prog")
		if out, err := exec.Command("cp", buildC(t, "c/exe.c"), exe).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		f.args = []string{exe}
		f.run()
	})
}

// TestSystemCalls saves programs that wait in a system call.
func TestSystemCalls(t *testing.T) {
	fifo := func(f *feature) func(int) {
		return func(int) {
			f.waitsOn()
			f.shell("printf x 1<> fifo")
		}
	}
	signal := func(f *feature) func(int) {
		return func(pid int) {
			f.waitsOn()
			_ = unix.Kill(pid, unix.SIGUSR1)
		}
	}
	nothing := func(*feature) func(int) { return func(int) {} }
	for name, wake := range map[string]func(*feature) func(int){
		"read": fifo, "poll": fifo, "select": fifo, "pause": signal, "sigsuspend": signal,
		"nanosleep": nothing, "clock_nanosleep": nothing, "futex": nothing, "timeout": nothing,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &feature{t: t, dir: t.TempDir(), args: []string{buildC(t, "c/syscalls.c"), name}}
			if err := unix.Mkfifo(filepath.Join(f.dir, "fifo"), 0o600); err != nil {
				t.Fatal(err)
			}
			f.wake = wake(f)
			f.run()
		})
	}
}

// TestWaitsOften interrupts waits by three checkpoints before they are saved,
// killed and restored.
func TestWaitsOften(t *testing.T) {
	t.Parallel()
	f := &feature{t: t, args: []string{buildC(t, "c/waits_often.c")}}
	f.start()
	for range 3 {
		f.save("running")
	}
	f.save("killed")
	f.judge(f.restore())
}

// TestSharing checks with kcmp(2), while the restored program waits, that one open
// file is one again, and two are two; then the program checks itself.
func TestSharing(t *testing.T) {
	f := &feature{t: t, args: []string{buildC(t, "c/sharing.c")}}
	f.start()
	f.save("killed")
	apply := f.restore()
	same := func(a, b uint64) bool {
		order, err := kcmp.Compare(f.pid, f.pid, kcmp.File, a, b)
		if err != nil {
			t.Fatal(err)
		}
		return order == kcmp.Equal
	}
	if !same(3, 4) {
		t.Error("3 and its dup 4 are two open files")
	}
	if same(3, 5) {
		t.Error("3 and 5, opened apart, are one open file")
	}
	if same(6, 7) {
		t.Error("a pipe's ends are one open file")
	}
	ino := func(fd int) uint64 {
		var st unix.Stat_t
		if err := unix.Stat(fmt.Sprintf("/proc/%d/fd/%d", f.pid, fd), &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	if ino(6) != ino(7) {
		t.Error("6 and 7 are not ends of one pipe")
	}
	if fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", f.pid)); err != nil || len(fds) != 8 {
		t.Errorf("it has descriptors %v, %v", fds, err)
	}
	f.proceed()
	f.judge(apply)
}

// TestGenerations saves and restores a program ten times in a row, each time the
// process that the last restore made.
func TestGenerations(t *testing.T) {
	f := &feature{t: t, args: []string{buildC(t, "c/maps.c")}}
	f.start()
	for range 10 {
		f.save("running")
		if err := unharmed(f.pid); err != nil {
			t.Fatal(err)
		}
		f.save("killed")
		f.shell("ckpt-read < img | ckpt-apply --detach")
	}
	f.save("killed")
	apply := f.restore()
	f.proceed()
	f.judge(apply)
}

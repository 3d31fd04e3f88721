package tests

import (
	"fmt"
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

// world is what tests can leave behind, in words: descriptors of this process,
// tasks, mounts, System V objects and files. All but the first are those of the
// namespaces and folders that the tests have for themselves.
type world struct {
	temp string // the folder for temporary files
	left []string
}

// see looks around.
func see(temp string) world {
	w := world{temp: temp}
	w.descriptors()
	w.tasks()
	w.lines("mount", "/proc/self/mountinfo", 0)
	for _, kind := range []string{"shm", "sem", "msg"} {
		w.lines("System V "+kind, "/proc/sysvipc/"+kind, 1)
	}
	for _, dir := range []string{temp, "/dev/shm"} {
		names, _ := filepath.Glob(filepath.Join(dir, "*"))
		hidden, _ := filepath.Glob(filepath.Join(dir, ".*"))
		for _, name := range append(names, hidden...) {
			w.add("file %s", name)
		}
	}
	return w
}

func (w *world) add(format string, args ...any) {
	w.left = append(w.left, fmt.Sprintf(format, args...))
}

// descriptors are those that nobody closed: what the garbage collector would close
// by and by is closed by now.
func (w *world) descriptors() {
	runtime.GC()
	runtime.GC() // files are closed after the first
	fds, _ := proc.FDs(os.Getpid())
	for _, fd := range fds {
		link, err := proc.FDLink(os.Getpid(), fd)
		if err == nil && !strings.HasPrefix(link, "anon_inode:[event") && link != fmt.Sprintf("/proc/%d/fd", os.Getpid()) { // of Go's runtime, and of this look
			w.add("descriptor %d: %s", fd, link)
		}
	}
}

// tasks are all processes but the tests and the init of their namespaces.
func (w *world) tasks() {
	all, _ := proc.Processes()
	for _, pid := range all {
		stat, err := proc.ReadStat(pid)
		if err == nil && pid != 1 && pid != os.Getpid() {
			w.add("pid %d (%s) in state %c, child of pid %d", pid, stat.Comm, stat.State, stat.PPID)
		}
	}
}

// lines are those of a file behind the first so many.
func (w *world) lines(what, file string, skip int) {
	b, _ := os.ReadFile(file)
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if i >= skip && line != "" {
			w.add("%s: %s", what, strings.Join(strings.Fields(line), " "))
		}
	}
}

// leaks are what is there now and was not before, once it had time to end.
func (w world) leaks(patience time.Duration) (left []string) {
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		left = slices.DeleteFunc(see(w.temp).left, func(what string) bool { return slices.Contains(w.left, what) })
		if len(left) == 0 || time.Now().After(end) {
			return left
		}
	}
}

// TestLeaks: each kind of thing that tests could leave behind is seen.
func TestLeaks(t *testing.T) {
	before := see(os.TempDir())
	f, err := os.Create(filepath.Join(os.TempDir(), ".left-behind"))
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	sleep := exec.Command("sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleep.Process.Kill(); _ = sleep.Wait() }()
	mnt := t.TempDir()
	if err := unix.Mount("left", mnt, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(mnt, 0) }()
	id, err := unix.SysvShmGet(0x1ef7, 4096, unix.IPC_CREAT|0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) }()
	shm := "/dev/shm/left-behind"
	if err := os.WriteFile(shm, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(shm)
	left := strings.Join(before.leaks(0), "\n")
	for _, what := range []string{
		fmt.Sprintf("descriptor %d: %s", f.Fd(), f.Name()), "file " + f.Name(), fmt.Sprintf("pid %d (sleep)", sleep.Process.Pid),
		" " + mnt + " ", fmt.Sprintf("System V shm: %d %d ", 0x1ef7, id), "file " + shm,
	} {
		if !strings.Contains(left, what) {
			t.Errorf("%q is not seen among\n%s", what, left)
		}
	}
}

package mounts

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Namespaces as container runtimes make them.

// bundle makes a folder with a root file system of busybox, and what a runtime is to do.
func bundle(t *testing.T, runtime string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, d := range []string{"rootfs/bin", "rootfs/etc", "volume"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sh(t, "cp /bin/busybox "+dir+"/rootfs/bin/sleep; echo data > "+dir+"/volume/f; echo 127.0.0.1 x > "+dir+"/hosts; touch "+dir+"/rootfs/etc/hosts; cd "+dir+"; "+runtime+" spec")
	file := filepath.Join(dir, "config.json")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	process := c["process"].(map[string]any)
	process["terminal"], process["args"] = false, []string{"/bin/sleep", "300"}
	linux := c["linux"].(map[string]any)
	linux["namespaces"] = []map[string]any{{"type": "pid"}, {"type": "mount"}, {"type": "uts"}} // what shows others shows those that we are in
	c["mounts"] = append(c["mounts"].([]any),
		map[string]any{"destination": "/data", "source": dir + "/volume", "type": "bind", "options": []string{"rbind", "rw"}},
		map[string]any{"destination": "/etc/hosts", "source": dir + "/hosts", "type": "bind", "options": []string{"bind", "ro"}},
		map[string]any{"destination": "/tmp", "source": "tmpfs", "type": "tmpfs", "options": []string{"size=1m", "nosuid"}})
	if b, err = json.Marshal(c); err == nil {
		err = os.WriteFile(file, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func sh(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.Command("bash", "-ec", script)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return strings.TrimSpace(string(out))
}

func TestContainers(t *testing.T) {
	for _, runtime := range []string{"runc", "crun"} {
		t.Run(runtime, func(t *testing.T) {
			dir, name := bundle(t, runtime), fmt.Sprintf("ckpt-test-%d-%s", os.Getpid(), runtime)
			t.Cleanup(func() { _ = exec.Command(runtime, "delete", "-f", name).Run() })
			// crun refuses to work where both versions of control groups have controllers.
			sh(t, fmt.Sprintf("cd %s; unshare -m sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; %s run -d %s </dev/null >/dev/null 2>err' || { cat err >&2; exit 1; }", dir, runtime, name))
			var state struct{ PID int }
			if err := json.Unmarshal([]byte(sh(t, runtime+" state "+name)), &state); err != nil {
				t.Fatal(err)
			}
			root := fmt.Sprintf("/proc/%d/root", state.PID)
			sh(t, "echo x > "+root+"/tmp/x; echo y > "+root+"/dev/shm/y")
			want, files := containerText(t, state.PID)
			s, r := save(t, state.PID), trusting(t)
			beside := restore(t, s, r).Made(1)
			sh(t, fmt.Sprintf("kill -9 %d", state.PID))
			r = trusting(t)
			after := restore(t, s, r).Made(1)
			for when, n := range map[string]*Namespace{"beside": beside, "after": after} {
				p := inside(t, n)
				got, gotFiles := containerText(t, p)
				if got != want || gotFiles != files {
					t.Errorf("%s: %s%s", when, cmp.Diff(want, got), cmp.Diff(files, gotFiles))
				}
			}
		})
	}
}

func TestBubblewrap(t *testing.T) {
	dir := t.TempDir()
	sh(t, "mkdir "+dir+"/home; echo x > "+dir+"/home/x")
	cmd := exec.Command("bwrap", "--die-with-parent", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
		"--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--dir", "/run/user", "--bind", dir+"/home", "/home/me", "--file", "0", "/etc/passwd", "--unshare-ipc", "--unshare-uts",
		"sleep", "300")
	cmd.Stdin = strings.NewReader("root:x:0:0::/:/bin/sh\n")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	pid := childOf(t, cmd.Process.Pid)
	want, files := containerText(t, pid)
	s := save(t, pid)
	n := restore(t, s, trusting(t)).Made(1)
	got, gotFiles := containerText(t, inside(t, n))
	if got != want || gotFiles != files {
		t.Error(cmp.Diff(want, got), cmp.Diff(files, gotFiles))
	}
}

// childOf waits until a process has a child that runs sleep, and returns it.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	for range 1000 {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		for _, s := range append(strings.Fields(string(b)), strconv.Itoa(pid)) {
			if comm, _ := os.ReadFile("/proc/" + s + "/comm"); string(comm) == "sleep\n" {
				child, _ := strconv.Atoi(s)
				return child
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the sandbox does not start")
	return 0
}

// containerText tells of the mounts of a process, and of the files that are in memory.
func containerText(t *testing.T, pid int) (table, files string) {
	t.Helper()
	root := fmt.Sprintf("/proc/%d/root", pid)
	for _, d := range []string{"/dev/shm", "/tmp", "/data", "/etc", "/home"} {
		if _, err := os.Stat(root + d); err == nil {
			files += d + ":\n" + treeText(t, root+d)
		}
	}
	files += sh(t, "cd "+root+"/dev; find . -maxdepth 1 -printf '%p %M %U %G %l\\n' | sort")
	return tableText(t, mountinfo(t, pid)), files
}

// inside starts a process in a namespace.
func inside(t *testing.T, n *Namespace) int {
	t.Helper()
	cmd := exec.Command("nsenter", "--mount=/proc/self/fd/3", "sleep", "300")
	if _, err := os.Stat(fmt.Sprintf("/proc/self/fd/%d/bin/sleep", n.Root().Fd())); err == nil {
		cmd.Args[2] = "/bin/sleep"
	}
	cmd.ExtraFiles, cmd.Stderr = []*os.File{n.File}, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	return childOf(t, cmd.Process.Pid)
}

package tests

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBystanders saves, kills and restores a tree among processes that have
// nothing to do with it but their names. They notice nothing, and the system's
// settings are as before.
func TestBystanders(t *testing.T) {
	dir, target := t.TempDir(), buildC(t, "c/shared_tree.c")
	var all []*bystander
	for _, name := range []string{"ckpt-collect", "ckpt-apply", "ckpt-stub", filepath.Base(target)} {
		all = append(all, newBystander(t, dir, name))
	}
	before := systemState(t)

	f := &feature{t: t, args: []string{target}}
	f.start()
	f.shell(fmt.Sprintf("ckpt-collect --dry-run %d", f.pid))
	f.save("running")
	f.save("killed")
	f.shell("ckpt-read < img | ckpt-apply --check")
	apply := f.restore()
	f.proceed()
	f.judge(apply)

	for _, b := range all {
		b.judge()
	}
	after := systemState(t)
	for name, was := range before {
		if now := after[name]; now != was {
			t.Errorf("%s has changed from\n%s\nto\n%s", name, was, now)
		}
	}
}

// bystander is a process of a certain name, see testdata/bystander.c.
type bystander struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  io.ReadCloser
}

func newBystander(t *testing.T, dir, name string) *bystander {
	t.Helper()
	path := filepath.Join(dir, name)
	if out, err := exec.Command("cp", buildC(t, "bystander.c"), path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b := &bystander{t: t, name: name, cmd: exec.Command(path)}
	var err error
	if b.in, err = b.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if b.out, err = b.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.cmd.Process.Kill(); _ = b.cmd.Wait() })
	ready := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(b.out, ready); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return b
}

func (b *bystander) judge() {
	b.t.Helper()
	if _, err := b.in.Write([]byte{'\n'}); err != nil {
		b.t.Error(err)
	}
	if said, err := io.ReadAll(b.out); err != nil || string(said) != "pass\n" {
		b.t.Errorf("%s: %v, says:\n%s", b.name, err, said)
	}
}

// restlessSettings are those that the kernel itself changes.
var restlessSettings = []string{"ns_last_pid", "file-nr", "inode-nr", "inode-state", "dentry-state", "aio-nr", "random/",
	"pty/nr", "nr_inodes", "sched_domain", "perf_event_max_sample_rate", "numa_balancing", "loadpin", "entropy_avail", "tcp_mem", "udp_mem"}

// systemState is what must be as before: settings, mounts, System V IPC.
func systemState(t *testing.T) map[string]string {
	t.Helper()
	state := map[string]string{}
	_ = filepath.WalkDir("/proc/sys", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		for _, name := range restlessSettings {
			if strings.Contains(path, name) {
				return nil
			}
		}
		if value, err := readSetting(path); err == nil {
			state[path] = value
		}
		return nil
	})
	if len(state) < 100 {
		t.Fatalf("only %d settings can be read", len(state))
	}
	for _, path := range []string{"/proc/self/mountinfo", "/proc/sysvipc/shm", "/proc/sysvipc/sem", "/proc/sysvipc/msg"} {
		value, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		state[path] = string(value)
	}
	return state
}

// readSetting does not block: some settings are read like pipes.
func readSetting(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf := make([]byte, 1<<16)
	n, err := unix.Read(fd, buf)
	return string(buf[:max(n, 0)]), err
}

package tests

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFUSE: a file whose server is stopped with the target, or answers nobody, is
// refused by name, also if it is not mounted any more. Nothing asks the server, not
// even to see whether a path still leads to a file, and the target runs on.
func TestFUSE(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		server, how string
		status      int
		want        string
	}{
		{"inside", "mounted", 3, "on a FUSE file system (fuse.test)"},
		{"outside", "mounted", 3, "on a FUSE file system (fuse.test)"},
		{"inside", "detached", 3, "on a FUSE file system (of a server, and no longer mounted)"},
		{"outside", "detached", 3, "on a FUSE file system (of a server, and no longer mounted)"},
		{"outside", "covered", 0, "can be saved"},
	} {
		t.Run(c.server+"/"+c.how, func(t *testing.T) {
			pid := startFUSE(t, c.server, c.how)
			cmd := exec.Command("ckpt-collect", "--dry-run", "--leave", "killed", "--stall-timeout", "30s", fmt.Sprint(pid))
			var said bytes.Buffer
			cmd.Stderr = &said
			done := make(chan error)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			go func() { done <- cmd.Wait() }()
			select {
			case err := <-done:
				if cmd.ProcessState.ExitCode() != c.status || !strings.Contains(said.String(), c.want) {
					t.Errorf("%v:\n%s", err, said.String())
				}
			case <-time.After(time.Minute):
				_ = cmd.Process.Kill()
				t.Error("it waits for the server")
			}
			if err := unharmed(pid); err != nil {
				t.Error(err)
			}
		})
	}
}

// startFUSE starts the program and returns the process that has the file open.
func startFUSE(t *testing.T, server, how string) int {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "out")
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	program := buildC(t, "c/fuse.c")
	cmd := &exec.Cmd{Path: program, Args: []string{program, server, how}, Dir: dir, Stdout: out, Stderr: out, SysProcAttr: &unix.SysProcAttr{Setsid: true}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // the server too: with it the connection ends
		_ = cmd.Wait()
		_ = unix.Unmount(filepath.Join(dir, "mnt"), unix.MNT_DETACH)
	})
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var pid int
		if _, err := fmt.Sscanf(string(text), "ready %d\n", &pid); err == nil {
			return pid
		}
		if strings.Contains(string(text), "setup") {
			t.Fatalf("%s", text)
		}
	}
	t.Fatal("the program does not get ready")
	return 0
}

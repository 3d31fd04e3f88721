package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ckpt/internal/proc"
)

// TestVfork: a thread that is in vfork(2) is waited for while all of its process runs on; if
// that takes too long, its child is named.
func TestVfork(t *testing.T) {
	t.Parallel()
	f := &feature{t: t, args: []string{buildC(t, "vfork.c")}}
	f.start()
	children, err := proc.Children(f.pid)
	if err != nil || len(children) != 2 {
		t.Fatalf("children %v, %v", children, err)
	}
	said, err := f.watched("--timeout", "500ms")
	want := fmt.Sprintf("waits in vfork for its child, pid %d (", children[0])
	if !strings.Contains(said, want) || exitCode(err) != 3 {
		t.Errorf("%v, not %q:\n%s", err, want, said)
	}
	go func() {
		time.Sleep(300 * time.Millisecond) // it may begin before that or after
		_ = os.WriteFile(filepath.Join(f.dir, "go"), nil, 0o600)
	}()
	if said, err := f.watched("--timeout", "1000s"); err != nil || !strings.Contains(said, "can be saved") {
		t.Errorf("%v:\n%s", err, said)
	}
	for _, pid := range append(children, f.pid) {
		if err := unharmed(pid); err != nil {
			t.Error(err)
		}
	}
}

func exitCode(err error) int {
	if e, ok := err.(*exec.ExitError); ok {
		return e.ExitCode()
	}
	return 0
}

// watched makes a dry run, and fails if a thread of the program is traced while another is
// in vfork.
func (f *feature) watched(options ...string) (said string, err error) {
	f.t.Helper()
	cmd := exec.Command("ckpt-collect", append(options, "--dry-run", fmt.Sprint(f.pid))...)
	ended := make(chan struct{})
	go func() {
		out, rerr := cmd.CombinedOutput()
		said, err = string(out), rerr
		close(ended)
	}()
	for over := false; !over; {
		tids, _ := proc.Threads(f.pid)
		var tracer int
		for _, tid := range tids {
			if status, err := proc.ReadThreadStatus(f.pid, tid); err == nil {
				tracer = max(tracer, status.TracerPid)
			}
		}
		if stat, err := proc.ReadStat(f.pid); err == nil && stat.State == 'D' && tracer != 0 {
			f.t.Error("a thread is traced")
		}
		select {
		case <-ended:
			over = true
		case <-time.After(time.Millisecond):
		}
	}
	return said, err
}

package tests

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// restlessEnv is how many dry runs are made of each restless program, for make storm.
const restlessEnv = "CKPT_STORM"

// TestRestless does dry runs of programs that exec, also when the first thread has ended, vfork, fork and pass their work
// from thread to thread without end. None is refused, and nobody is left stopped or traced.
func TestRestless(t *testing.T) {
	runs, kinds := 10, []string{"exec", "first", "relay", "vfork"}
	if s := os.Getenv(restlessEnv); s != "" {
		var err error
		if runs, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, "fork", "all") // too busy to run beside others
	}
	program := buildC(t, "restless.c")
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) { restless(t, program, kind, runs) })
	}
}

func restless(t *testing.T, program, kind string, runs int) {
	cmd := exec.Command(program, kind)
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	t.Cleanup(func() {
		_ = unix.Kill(-pid, unix.SIGKILL)
		_ = cmd.Wait()
	})
	for run := range runs {
		time.Sleep(time.Duration(run%7) * time.Millisecond) // some things take a moment to begin
		look := exec.Command("timeout", "-s", "KILL", "120", "ckpt-collect", "--dry-run", "--timeout", "60s", fmt.Sprint(pid))
		if out, err := look.CombinedOutput(); err != nil || !strings.Contains(string(out), "can be saved") {
			t.Fatalf("run %d: %v\n%s", run, err, out)
		}
	}
	for _, tid := range tasksOfSession(t, pid) {
		if err := unharmed(tid); err != nil && !proc.Gone(err) && !isZombie(tid) {
			t.Error(err)
		}
	}
}

// tasksOfSession lists the processes and threads of a session.
func tasksOfSession(t *testing.T, session int) (tids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if stat, err := proc.ReadStat(pid); err == nil && stat.Session == session {
			of, _ := proc.Threads(pid)
			tids = append(tids, of...)
		}
	}
	if len(tids) == 0 {
		t.Fatal("the program has ended")
	}
	return tids
}

func isZombie(tid int) bool {
	status, err := proc.ReadStatus(tid)
	return err == nil && status.State == 'Z' && status.TracerPid == 0
}

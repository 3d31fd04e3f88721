package judge

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"ckpt/internal/proc"
	"ckpt/internal/task"
	"ckpt/stream/record"
)

// TestBeyondLast: an id that this system never assigns does not count as free.
func TestBeyondLast(t *testing.T) {
	most, err := proc.ReadSysctl("kernel/pid_max")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []int{int(most), maxPID} {
		if errs := PIDTaken(id); len(errs) != 1 || !strings.Contains(errs[0].Error(), "kernel.pid_max") {
			t.Errorf("%d: %v", id, errs)
		}
	}
	if errs := PIDTaken(int(most) - 1); len(errs) > 0 && strings.Contains(errs[0].Error(), "kernel.pid_max") {
		t.Errorf("the last one: %v", errs)
	}
}

// TestManyEnded: zombies whose parents don't reap them are waited for together.
func TestManyEnded(t *testing.T) {
	const n = 12
	m := &Model{}
	for range n {
		cmd := exec.Command("true")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Wait() })
		for stat, err := proc.ReadStat(cmd.Process.Pid); err == nil && !ended(stat); stat, err = proc.ReadStat(cmd.Process.Pid) {
			time.Sleep(time.Millisecond)
		}
		m.Tasks = append(m.Tasks, &Task{Task: record.Task{PID: cmd.Process.Pid}})
	}
	begin := time.Now()
	if errs := m.checkHere(task.CgroupsKeep); len(errs) != n || !strings.Contains(errs[n-1].Error(), "which has ended") {
		t.Errorf("%v", errs)
	}
	if took := time.Since(begin); took > n/2*reapTime { // one after the other it is twice as long, at least
		t.Errorf("it took %v", took)
	}
}

package collect

import (
	"os/exec"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/testkit"
)

// volleyTargets starts processes that wait, and returns their ids.
func volleyTargets(t *testing.T, n int) (cmds []*exec.Cmd, pids []int) {
	t.Helper()
	runtime.LockOSThread() // they die with it
	for range n {
		cmd := exec.Command("sleep", "600")
		cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
		testkit.Check(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		cmds, pids = append(cmds, cmd), append(pids, cmd.Process.Pid)
	}
	return cmds, pids
}

// TestVolley: one shot reaches all, also those that stand still.
func TestVolley(t *testing.T) {
	cmds, pids := volleyTargets(t, 20)
	testkit.Check(t, unix.Kill(pids[3], unix.SIGSTOP))
	v := testkit.Must(newVolley(unix.SIGKILL))(t)
	for _, pid := range pids {
		testkit.Check(t, v.aim(pid))
	}
	testkit.Check(t, v.fire())
	v.close()
	for _, cmd := range cmds {
		if err := cmd.Wait(); cmd.ProcessState.String() != "signal: killed" {
			t.Errorf("pid %d: %v", cmd.Process.Pid, err)
		}
	}
}

// TestVolleyNotFired: who was only aimed at is not signalled, in whatever order the
// descriptors are closed, which is what happens if we are killed.
func TestVolleyNotFired(t *testing.T) {
	_, pids := volleyTargets(t, 6)
	for _, order := range []func([]int){func([]int) {}, slices.Reverse[[]int], func(s []int) { s[0], s[3] = s[3], s[0] }} {
		v := testkit.Must(newVolley(unix.SIGKILL))(t)
		for _, pid := range pids {
			testkit.Check(t, v.aim(pid))
		}
		all := append([]int{v.pipe}, v.aims...)
		order(all)
		for _, fd := range all {
			testkit.Check(t, unix.Close(fd))
		}
	}
	for _, pid := range pids {
		status, err := proc.ReadStatus(pid) // one that was killed has SIGKILL pending until it ends
		if err != nil || status.State == 'Z' || (status.SigPnd|status.ShdPnd)&(1<<(unix.SIGKILL-1)) != 0 {
			t.Errorf("pid %d was signalled: %c %v", pid, status.State, err)
		}
	}
}

package collect

import (
	"fmt"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/testkit"
)

// TestSchedClocks: how long a thread has not run is right on whichever CPU it ran last,
// though their clocks differ by what interrupts and a hypervisor took of each.
func TestSchedClocks(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all unix.CPUSet
	testkit.Check(t, unix.SchedGetaffinity(0, &all))
	var clocks schedClocks
	for cpu := range 1024 {
		if !all.IsSet(cpu) {
			continue
		}
		cmd := exec.Command("taskset", "-c", fmt.Sprint(cpu), "sleep", "1000")
		cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
		begin := monotonic()
		testkit.Check(t, cmd.Start())
		pid := cmd.Process.Pid
		testkit.Soon(t, "it to sleep", func() bool {
			call, err := proc.ReadSyscall(pid, pid)
			return err == nil && call == unix.SYS_CLOCK_NANOSLEEP
		})
		slept := monotonic()
		time.Sleep(20 * time.Millisecond)
		least := monotonic() - slept
		got := clocks.since(readLastRun(pid, pid))
		if most := monotonic() - begin; got > most || got < least-5*time.Millisecond {
			t.Errorf("on CPU %d: it has slept for %v, which should be from %v to %v", cpu, got, least, most)
		}
		testkit.Check(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
}

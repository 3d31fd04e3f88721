//go:build amd64

package tracee_test

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/loan"
	"ckpt/internal/proc"
	"ckpt/internal/puppet"
	"ckpt/internal/testkit"
	"ckpt/internal/testkit/stub"
	"ckpt/internal/tracee"
)

// holdAll seizes all threads of a process.
func holdAll(t testing.TB, g *tracee.Group, pid int) []*tracee.Tracee {
	t.Helper()
	tids := testkit.Must(proc.Threads(pid))(t)
	for _, tid := range tids {
		g.Ask(pid, tid)
		g.Ask(pid, tid) // once is enough
		if !g.Has(tid) || g.Holds(tid) {
			t.Errorf("thread %d: asked %v, held %v", tid, g.Has(tid), g.Holds(tid))
		}
	}
	all := make([]*tracee.Tracee, len(tids))
	for i, tid := range tids {
		all[i] = testkit.Must(g.Seize(pid, tid))(t)
	}
	return all
}

// TestGroup: all threads of a program are stopped, then all run on.
func TestGroup(t *testing.T) {
	p := testkit.StartTarget(t, "threads", "6")
	before := p.State()
	for range 10 {
		g := testkit.NewGroup(t)
		all := holdAll(t, g, p.PID)
		was := slices.Clone(p.Shared)
		for _, th := range all {
			if !g.Holds(th.TID) || !g.Stands(th) {
				t.Fatalf("thread %d does not stand", th.TID)
			}
			if s := testkit.Must(proc.ReadThreadStat(p.PID, th.TID))(t); s.State != 't' {
				t.Fatalf("thread %d is in state %c", th.TID, s.State)
			}
		}
		if g.Sweep() {
			t.Error("something has changed")
		}
		if !slices.Equal(was, p.Shared) {
			t.Fatal("it counts although it is stopped")
		}
		testkit.Check(t, g.Release(all[1:]))
		if g.Holds(all[1].TID) || !g.Holds(all[0].TID) {
			t.Error("the wrong threads were let go")
		}
		testkit.Check(t, g.ReleaseAll())
		for _, i := range []int{0, 1, 3, 5} {
			p.Runs(i)
		}
		p.Settled(before)
	}
}

// TestAskOnly: threads that were only asked to stop run on when they are let go.
func TestAskOnly(t *testing.T) {
	p := testkit.StartTarget(t, "threads", "4")
	before := p.State()
	for range 20 {
		g := testkit.NewGroup(t)
		for _, tid := range testkit.Must(proc.Threads(p.PID))(t) {
			g.Ask(p.PID, tid)
		}
		testkit.Check(t, g.ReleaseAll())
		for _, tid := range testkit.Must(proc.Threads(p.PID))(t) {
			if g.Has(tid) {
				t.Errorf("thread %d is in our hands", tid)
			}
		}
		p.Settled(before)
		p.Runs(0)
	}
}

// TestAskedKeepsSignals: a thread that was asked to stop just as a signal was delivered gets
// it when it is let go, whether or not its stop was reported in between.
func TestAskedKeepsSignals(t *testing.T) {
	for _, swept := range []bool{false, true} {
		p := testkit.StartTarget(t, "spin")
		g := testkit.NewGroup(t)
		testkit.Check(t, tracee.SeizeOnly(p.PID))
		testkit.Check(t, unix.Kill(p.PID, unix.SIGUSR1))
		testkit.Soon(t, "it to take the signal", func() bool { return testkit.Must(proc.ReadStat(p.PID))(t).State == 't' })
		testkit.Check(t, unix.PtraceInterrupt(p.PID))
		g.SetAsked(p.PID)
		if swept && !g.Sweep() {
			t.Error("nothing was told")
		}
		testkit.Check(t, g.ReleaseAll())
		err := p.Cmd.Wait()
		if status, ok := p.Cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGUSR1 {
			t.Errorf("swept %v: it ended by %v (%v), not by the signal", swept, p.Cmd.ProcessState, err)
		}
	}
}

// TestBorn: tasks that are made while their maker is being stopped are traced, and let go
// with the rest; a program that makes tasks all the time goes on.
func TestBorn(t *testing.T) {
	p := testkit.StartTarget(t, "storm")
	for range 30 {
		g := testkit.NewGroup(t)
		if _, err := g.Seize(p.PID, p.PID); err != nil {
			t.Fatal(err)
		}
		g.Sweep()
		for _, tid := range testkit.Must(proc.Threads(p.PID))(t) {
			if g.Holds(tid) {
				continue
			}
			if _, err := g.Seize(p.PID, tid); err != nil && !errors.Is(err, tracee.ErrDead) && !errors.Is(err, unix.EPERM) {
				t.Fatal(err)
			}
		}
		testkit.Check(t, g.ReleaseAll())
		was := p.Count(0)
		testkit.Soon(t, "it to go on", func() bool {
			// A task that was born while its maker stopped may reach its first stop only now.
			g.Sweep()
			testkit.Check(t, g.ReleaseOthers())
			return p.Count(0) != was
		})
	}
}

// TestSeizeAgain: a thread that another process traces, and one that does not exist, can't
// be seized.
func TestSeizeAgain(t *testing.T) {
	p := testkit.StartTarget(t, "spin")
	g := testkit.NewGroup(t)
	testkit.Must(g.Seize(p.PID, p.PID))(t)
	testkit.Another(func() {
		_, err := tracee.NewGroup(time.Second, nil).Seize(p.PID, p.PID)
		testkit.Says(t, err, "pid "+strconv.Itoa(p.PID)+": attach: operation not permitted")
	})
	pid := testkit.FreePID(t)
	_, err := g.Seize(pid, pid)
	if !errors.Is(err, tracee.ErrDead) {
		t.Error(err)
	}
	g.Ask(pid, pid)
	if g.Has(pid) {
		t.Error("nobody is in our hands")
	}
	testkit.Check(t, g.ReleaseAll())
	p.Runs(0)
}

// TestExec: a program that runs another program while it is held is noticed.
func TestExec(t *testing.T) {
	p := testkit.StartTarget(t, "echo")
	g := testkit.NewGroup(t)
	tr := testkit.Must(g.Seize(p.PID, p.PID))(t)
	if _, err := p.In.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	testkit.Check(t, g.Release([]*tracee.Tracee{tr}))
	testkit.Soon(t, "it to run itself again", func() bool { return p.Count(0) > 0 })
	if g.Stands(tr) {
		t.Error("what was let go stands")
	}
	tr = testkit.Must(g.Seize(p.PID, p.PID))(t)
	if !g.Stands(tr) {
		t.Error("it does not stand")
	}
	testkit.Check(t, g.ReleaseAll())
	p.Runs(0)
}

// TestExecOfThread: a thread that runs a program takes the id of the first thread; its
// process is let go, and can be held again.
func TestExecOfThread(t *testing.T) {
	p := testkit.StartTarget(t, "threads", "3")
	g := testkit.NewGroup(t)
	all := holdAll(t, g, p.PID)
	// Make a thread run a program, as its own code could.
	last := all[len(all)-1]
	maps, fds := testkit.Must(proc.ReadMaps(p.PID))(t), testkit.Must(proc.FDs(p.PID))(t)
	l := testkit.Must(loan.Borrow(last, testkit.Must(loan.FindPlace(last, maps, fds, 0))(t)))(t)
	at := l.Scratch().Addr
	const argv = 512
	testkit.Check(t, last.WriteMem(at, append([]byte(testkit.Program), 0)))
	testkit.Check(t, last.WriteMem(at+256, []byte("spin\x00")))
	testkit.Check(t, last.WriteMem(at+argv, le(at, at+256, 0)))
	testkit.Must(l.Call(unix.SYS_GETPID))(t) // behind it the thread stands behind a syscall instruction
	regs := testkit.Must(last.Regs())(t)
	regs.SetCall(regs.IP()-uint64(len(tracee.SyscallInsn)), unix.SYS_EXECVE, []uint64{at, at + argv, at + argv + 16})
	testkit.Check(t, last.SetRegs(regs))
	testkit.Check(t, unix.PtraceSyscall(last.TID, 0))
	testkit.Must(last.Wait(0))(t)
	testkit.Check(t, last.SetSignalMask(0))
	testkit.Check(t, last.Detach(0))
	g.Forget(last)
	testkit.Soon(t, "the program to have changed", func() bool {
		g.Sweep()
		tids, err := proc.Threads(p.PID)
		return err == nil && len(tids) == 1
	})
	for _, th := range all[:len(all)-1] {
		if th.TID != p.PID && g.Holds(th.TID) {
			t.Errorf("thread %d is held", th.TID)
		}
	}
	testkit.Check(t, g.ReleaseAll())
	was := p.Count(0)
	testkit.Soon(t, "the new one to count", func() bool { return p.Count(0) != was })
}

func le(words ...uint64) (b []byte) {
	for _, w := range words {
		for i := range 8 {
			b = append(b, byte(w>>(8*i)))
		}
	}
	return b
}

// TestGroupStop: a stopped process is held, and is still stopped afterwards.
func TestGroupStop(t *testing.T) {
	p := testkit.StartTarget(t, "threads", "2")
	testkit.Check(t, unix.Kill(p.PID, unix.SIGTSTP))
	stopped := func() bool { return testkit.Must(proc.ReadStat(p.PID))(t).State == 'T' }
	testkit.Soon(t, "it to be stopped", stopped)
	g := testkit.NewGroup(t)
	all := holdAll(t, g, p.PID)
	for _, th := range all {
		if th.GroupStop != unix.SIGTSTP {
			t.Errorf("thread %d is stopped by %v", th.TID, th.GroupStop)
		}
	}
	testkit.Check(t, unix.Kill(p.PID, unix.SIGCONT))
	testkit.Check(t, unix.Kill(p.PID, unix.SIGSTOP))
	testkit.Check(t, g.ReleaseAll())
	testkit.Soon(t, "it to be stopped again", stopped)
	testkit.Check(t, unix.Kill(p.PID, unix.SIGCONT))
	p.Runs(0)
}

// TestMakeGroupStop: a process of puppets is stopped by the signal asked for, and
// goes on by SIGCONT, but not by one that came before.
func TestMakeGroupStop(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN} {
		// The stub itself was stopped once, and that would be reported.
		p := testkit.Must(stub.Settled(t).Clone(testkit.FreePID(t), unix.CLONE_PARENT, 0))(t)
		testkit.Check(t, tracee.CallOK(p, "have a group of its own", unix.SYS_SETPGID, 0, 0))
		thread := testkit.Must(p.CloneThreads([]puppet.NewThread{{TID: testkit.FreePID(t)}}))(t)[0]
		tracees := []*tracee.Tracee{p.Tracee(), thread.Tracee()}
		const loop = 1024
		testkit.Check(t, p.Tracee().Poke(p.Own().Addr+loop, []byte{0xeb, 0xfe}))
		for _, q := range []*puppet.Puppet{p, thread} {
			regs := *testkit.Must(q.Tracee().Regs())(t)
			regs.Rip, regs.Orig_rax = p.Own().Addr+loop, ^uint64(0)
			testkit.Check(t, q.Prepare(&regs, nil, 0, false))
		}
		testkit.Check(t, unix.Kill(p.Tracee().PID, unix.SIGCONT))
		taken := testkit.Must(tracee.GroupStop(tracees, sig, 0))(t)
		if !taken {
			t.Fatalf("%v was not taken", sig)
		}
		for _, th := range tracees {
			testkit.Check(t, th.LetGo())
			testkit.Check(t, th.Detach(0))
		}
		var ws unix.WaitStatus
		testkit.Soon(t, "the stop to be told", func() bool {
			n, err := unix.Wait4(p.Tracee().PID, &ws, unix.WNOHANG|unix.WUNTRACED, nil)
			return n == p.Tracee().PID || err != nil
		})
		if !ws.Stopped() || ws.StopSignal() != sig {
			t.Errorf("%#x, not stopped by %v", ws, sig)
		}
		testkit.Check(t, unix.Kill(p.Tracee().PID, unix.SIGCONT))
		testkit.Soon(t, "it to run", func() bool { return testkit.Must(proc.ReadStat(p.Tracee().PID))(t).State == 'R' })
		testkit.Check(t, unix.Kill(p.Tracee().PID, unix.SIGKILL))
		_, err := unix.Wait4(p.Tracee().PID, nil, 0, nil)
		testkit.Check(t, err)
	}
}

// TestTimeout: a thread that can't stop, because it waits in vfork for its child, is an error
// in time, and unharmed.
func TestTimeout(t *testing.T) {
	p := testkit.StartTarget(t, "family")
	var waiting int
	testkit.Soon(t, "the child in vfork", func() bool {
		for _, pid := range testkit.Must(proc.Children(p.PID))(t) {
			call, err := proc.ReadSyscall(pid, pid)
			if err == nil && slices.Contains(tracee.CloneCalls, call) {
				waiting = pid
				return true
			}
			if kids, err := proc.Children(pid); err == nil && len(kids) == 1 {
				t.Log("it was too fast")
				return true
			}
		}
		return false
	})
	if waiting == 0 {
		t.Fatal("no process waits in vfork")
	}
	runtimeLock(t)
	g := tracee.NewGroup(20*time.Millisecond, func(int, int) {})
	_, err := g.Seize(waiting, waiting)
	if !errors.Is(err, tracee.ErrTimeout) {
		t.Error(err)
	}
	testkit.Check(t, g.ReleaseAll())
	testkit.Soon(t, "its child to have become another program", func() bool {
		kids, err := proc.Children(waiting)
		if err != nil || len(kids) != 1 {
			return false
		}
		line, err := proc.ReadCmdline(kids[0])
		return err == nil && strings.Contains(string(line), "naps")
	})
	p.Runs(0)
	if _, err := os.Stat("/proc/" + strconv.Itoa(waiting)); err != nil {
		t.Error(err)
	}
}

func runtimeLock(t testing.TB) { testkit.NewGroup(t) }

func TestErrors(t *testing.T) {
	e := &tracee.TargetError{TID: 5, Op: "do it", Err: tracee.ErrDead}
	if e.Error() != "pid 5: do it: it ended while it was held" || !errors.Is(e, tracee.ErrDead) {
		t.Error(e)
	}
}

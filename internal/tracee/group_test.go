//go:build amd64

package tracee

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

	"ckpt/internal/proc"
)

// holdAll seizes all threads of a process.
func holdAll(t testing.TB, g *Group, pid int) []*Tracee {
	t.Helper()
	tids := must(proc.Threads(pid))(t)
	for _, tid := range tids {
		g.Ask(pid, tid)
		g.Ask(pid, tid) // once is enough
		if !g.Has(tid) || g.Holds(tid) {
			t.Errorf("thread %d: asked %v, held %v", tid, g.Has(tid), g.Holds(tid))
		}
	}
	all := make([]*Tracee, len(tids))
	for i, tid := range tids {
		all[i] = must(g.Seize(pid, tid))(t)
	}
	return all
}

// TestGroup: all threads of a program stand still, then all run on.
func TestGroup(t *testing.T) {
	p := startTarget(t, "threads", "6")
	before := p.state()
	for range 10 {
		g := newGroup(t)
		all := holdAll(t, g, p.pid)
		was := slices.Clone(p.shared)
		for _, th := range all {
			if !g.Holds(th.TID) || !g.Stands(th) {
				t.Fatalf("thread %d does not stand", th.TID)
			}
			if s := must(proc.ReadThreadStat(p.pid, th.TID))(t); s.State != 't' {
				t.Fatalf("thread %d is in state %c", th.TID, s.State)
			}
		}
		if g.Sweep() {
			t.Error("something has changed")
		}
		if !slices.Equal(was, p.shared) {
			t.Fatal("it counts on while it stands still")
		}
		check(t, g.Release(all[1:]))
		if g.Holds(all[1].TID) || !g.Holds(all[0].TID) {
			t.Error("the wrong threads were let go")
		}
		check(t, g.ReleaseAll())
		for _, i := range []int{0, 1, 3, 5} {
			p.runs(i)
		}
		p.settled(before)
	}
}

// TestAskOnly: threads that were asked to stop, and no more, run on when they are
// let go.
func TestAskOnly(t *testing.T) {
	p := startTarget(t, "threads", "4")
	before := p.state()
	for range 20 {
		g := newGroup(t)
		for _, tid := range must(proc.Threads(p.pid))(t) {
			g.Ask(p.pid, tid)
		}
		check(t, g.ReleaseAll())
		for _, tid := range must(proc.Threads(p.pid))(t) {
			if g.Has(tid) {
				t.Errorf("thread %d is in our hands", tid)
			}
		}
		p.settled(before)
		p.runs(0)
	}
}

// TestAskedKeepsSignals: a thread that was asked to stop just as it took a signal gets
// that when it is let go, whether its stop was told meanwhile or not.
func TestAskedKeepsSignals(t *testing.T) {
	for _, swept := range []bool{false, true} {
		p := startTarget(t, "spin")
		g := newGroup(t)
		check(t, seize(p.pid, groupOptions))
		check(t, unix.Kill(p.pid, unix.SIGUSR1))
		soon(t, "it to take the signal", func() bool { return must(proc.ReadStat(p.pid))(t).State == 't' })
		check(t, unix.PtraceInterrupt(p.pid))
		g.asked[p.pid] = true
		if swept && !g.Sweep() {
			t.Error("nothing was told")
		}
		check(t, g.ReleaseAll())
		err := p.cmd.Wait()
		if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGUSR1 {
			t.Errorf("swept %v: it ended by %v (%v), not by the signal", swept, p.cmd.ProcessState, err)
		}
	}
}

// TestBorn: what begins while its maker is being stopped is in our hands, and is
// let go with the rest; a program that never stands still goes on.
func TestBorn(t *testing.T) {
	p := startTarget(t, "storm")
	for range 30 {
		g := newGroup(t)
		if _, err := g.Seize(p.pid, p.pid); err != nil {
			t.Fatal(err)
		}
		g.Sweep()
		for _, tid := range must(proc.Threads(p.pid))(t) {
			if g.Holds(tid) {
				continue
			}
			if _, err := g.Seize(p.pid, tid); err != nil && !errors.Is(err, ErrDead) && !errors.Is(err, unix.EPERM) {
				t.Fatal(err)
			}
		}
		check(t, g.ReleaseAll())
		was := p.count(0)
		soon(t, "it to go on", func() bool {
			// What was born as its maker stopped may come to its first stop only now.
			g.Sweep()
			check(t, g.ReleaseOthers())
			return p.count(0) != was
		})
	}
}

// TestSeizeAgain: who is traced by another is not ours, and who does not exist
// is not there.
func TestSeizeAgain(t *testing.T) {
	p := startTarget(t, "spin")
	g := newGroup(t)
	must(g.Seize(p.pid, p.pid))(t)
	another(func() {
		_, err := NewGroup(time.Second, nil).Seize(p.pid, p.pid)
		says(t, err, "pid "+strconv.Itoa(p.pid)+": attach: operation not permitted")
	})
	pid := freePID(t)
	_, err := g.Seize(pid, pid)
	if !errors.Is(err, ErrDead) {
		t.Error(err)
	}
	g.Ask(pid, pid)
	if g.Has(pid) {
		t.Error("nobody is in our hands")
	}
	check(t, g.ReleaseAll())
	p.runs(0)
}

// TestExec: a program that becomes another while it is held is noticed.
func TestExec(t *testing.T) {
	p := startTarget(t, "echo")
	g := newGroup(t)
	tr := must(g.Seize(p.pid, p.pid))(t)
	if _, err := p.in.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	check(t, g.Release([]*Tracee{tr}))
	soon(t, "it to run itself anew", func() bool { return p.count(0) > 0 })
	if g.Stands(tr) {
		t.Error("what was let go stands")
	}
	tr = must(g.Seize(p.pid, p.pid))(t)
	if !g.Stands(tr) {
		t.Error("it does not stand")
	}
	check(t, g.ReleaseAll())
	p.runs(0)
}

// TestExecOfThread: a thread that runs a program takes the first one's id; its
// process is let go of, and can be held anew.
func TestExecOfThread(t *testing.T) {
	p := startTarget(t, "threads", "3")
	g := newGroup(t)
	all := holdAll(t, g, p.pid)
	// A thread is made to run a program, as its own code could.
	last := all[len(all)-1]
	maps, fds := must(proc.ReadMaps(p.pid))(t), must(proc.FDs(p.pid))(t)
	l := must(last.Borrow(must(last.FindPlace(maps, fds, 0))(t)))(t)
	at := l.Scratch().Addr
	const argv = 512
	check(t, last.WriteMem(at, append([]byte(program), 0)))
	check(t, last.WriteMem(at+256, []byte("spin\x00")))
	check(t, last.WriteMem(at+argv, le(at, at+256, 0)))
	l.standAt(t, unix.SYS_EXECVE, []uint64{at, at + argv, at + argv + 16}, 1)
	check(t, last.SetSignalMask(0))
	check(t, last.Detach(0))
	g.forget(last)
	soon(t, "the program to have changed", func() bool {
		g.Sweep()
		tids, err := proc.Threads(p.pid)
		return err == nil && len(tids) == 1
	})
	for _, th := range all[:len(all)-1] {
		if th.TID != p.pid && g.Holds(th.TID) {
			t.Errorf("thread %d is held", th.TID)
		}
	}
	check(t, g.ReleaseAll())
	was := p.count(0)
	soon(t, "the new one to count", func() bool { return p.count(0) != was })
}

func le(words ...uint64) (b []byte) {
	for _, w := range words {
		for i := range 8 {
			b = append(b, byte(w>>(8*i)))
		}
	}
	return b
}

// TestGroupStop: a stopped process is held, and is stopped afterwards as before.
func TestGroupStop(t *testing.T) {
	p := startTarget(t, "threads", "2")
	check(t, unix.Kill(p.pid, unix.SIGTSTP))
	stopped := func() bool { return must(proc.ReadStat(p.pid))(t).State == 'T' }
	soon(t, "it to be stopped", stopped)
	g := newGroup(t)
	all := holdAll(t, g, p.pid)
	for _, th := range all {
		if th.GroupStop != unix.SIGTSTP {
			t.Errorf("thread %d is stopped by %v", th.TID, th.GroupStop)
		}
	}
	check(t, unix.Kill(p.pid, unix.SIGCONT))
	check(t, unix.Kill(p.pid, unix.SIGSTOP))
	check(t, g.ReleaseAll())
	soon(t, "it to be stopped again", stopped)
	check(t, unix.Kill(p.pid, unix.SIGCONT))
	p.runs(0)
}

// TestMakeGroupStop: a process of puppets is stopped by the signal asked for, and
// goes on by SIGCONT, but not by one that came before.
func TestMakeGroupStop(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN} {
		// The stub itself was stopped once, and that would be told.
		p := must(settledStub(t).Clone(freePID(t), unix.CLONE_PARENT, 0))(t)
		check(t, CallOK(p, "have a group of its own", unix.SYS_SETPGID, 0, 0))
		thread := must(oneThread(p, freePID(t), 0))(t)
		tracees := []*Tracee{p.t, thread.t}
		const loop = 1024
		check(t, p.t.poke(p.code+loop, []byte{0xeb, 0xfe}))
		for _, q := range []*Puppet{p, thread} {
			regs := q.base
			regs.Rip, regs.Orig_rax = p.code+loop, ^uint64(0)
			check(t, q.Prepare(&regs, nil, 0, false))
		}
		check(t, unix.Kill(p.t.PID, unix.SIGCONT))
		taken := must(GroupStop(tracees, sig, 0))(t)
		if !taken {
			t.Fatalf("%v was not taken", sig)
		}
		for _, th := range tracees {
			check(t, th.LetGo())
			check(t, th.Detach(0))
		}
		var ws unix.WaitStatus
		soon(t, "the stop to be told", func() bool {
			n, err := unix.Wait4(p.t.PID, &ws, unix.WNOHANG|unix.WUNTRACED, nil)
			return n == p.t.PID || err != nil
		})
		if !ws.Stopped() || ws.StopSignal() != sig {
			t.Errorf("%#x, not stopped by %v", ws, sig)
		}
		check(t, unix.Kill(p.t.PID, unix.SIGCONT))
		soon(t, "it to run", func() bool { return must(proc.ReadStat(p.t.PID))(t).State == 'R' })
		check(t, unix.Kill(p.t.PID, unix.SIGKILL))
		_, err := unix.Wait4(p.t.PID, nil, 0, nil)
		check(t, err)
	}
}

// TestTimeout: a thread that can't stop, for its child has not let it go on after
// vfork, is an error in time, and unharmed.
func TestTimeout(t *testing.T) {
	p := startTarget(t, "family")
	var waiting int
	soon(t, "the child in vfork", func() bool {
		for _, pid := range must(proc.Children(p.pid))(t) {
			call, err := proc.ReadSyscall(pid, pid)
			if err == nil && slices.Contains(CloneCalls, call) {
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
	g := NewGroup(20*time.Millisecond, func(int, int) {})
	_, err := g.Seize(waiting, waiting)
	if !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	check(t, g.ReleaseAll())
	soon(t, "its child to have become another program", func() bool {
		kids, err := proc.Children(waiting)
		if err != nil || len(kids) != 1 {
			return false
		}
		line, err := proc.ReadCmdline(kids[0])
		return err == nil && strings.Contains(string(line), "naps")
	})
	p.runs(0)
	if _, err := os.Stat("/proc/" + strconv.Itoa(waiting)); err != nil {
		t.Error(err)
	}
}

func runtimeLock(t testing.TB) { newGroup(t) }

func TestErrors(t *testing.T) {
	e := &TargetError{TID: 5, Op: "do it", Err: ErrDead}
	if e.Error() != "pid 5: do it: it ended while it was held" || !errors.Is(e, ErrDead) {
		t.Error(e)
	}
}

package collect

import (
	"errors"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/testkit"
	"ckpt/internal/tracee"
)

// frozen freezes a tree; the test keeps its OS thread.
func frozen(t *testing.T, pid int) *tree {
	t.Helper()
	tr, err := freeze(pid, time.Minute, func(err error) { t.Error(err) })
	testkit.Check(t, err)
	t.Cleanup(func() { _ = tr.release() })
	return tr
}

// stands checks that a tree is complete, and that all of it is held and stopped.
func (t *tree) stands(tb testing.TB) {
	tb.Helper()
	var held []int
	for i, p := range t.procs {
		held = append(held, p.pid)
		if j := slices.Index(t.procs, p.parent); i > 0 && (j < 0 || j >= i) {
			tb.Errorf("pid %d comes before its parent", p.pid)
		}
		if p.zombie {
			continue
		}
		tids := testkit.Must(proc.Threads(p.pid))(tb)
		if len(tids) != len(p.threads) || p.threads[0].TID != p.pid {
			tb.Errorf("pid %d: %d threads of %d", p.pid, len(p.threads), len(tids))
		}
		for _, tid := range tids {
			if s := testkit.Must(proc.ReadThreadStat(p.pid, tid))(tb); s.State != 't' {
				tb.Errorf("thread %d of pid %d is in state %c", tid, p.pid, s.State)
			}
		}
	}
	all := family(t.root().pid)
	slices.Sort(held)
	slices.Sort(all)
	if !slices.Equal(held, all) {
		tb.Errorf("held are %v of %v", held, all)
	}
}

// TestFreeze: all of a tree is stopped, also a process that waits in vfork, and sorted in
// an order in which it can be restored; then all of it runs on.
func TestFreeze(t *testing.T) {
	p := startTarget(t, "family")
	p.settle()
	tr := frozen(t, p.pid)
	tr.stands(t)
	was := slices.Clone(p.shared)
	zombies, napping := 0, 0
	for _, q := range tr.procs {
		if q.zombie {
			zombies++
		}
		if line, err := proc.ReadCmdline(q.pid); err == nil && strings.Contains(string(line), "naps") {
			napping++
		}
	}
	if zombies != 1 || napping != 1 || len(tr.procs) != 6 || tr.threads() != 5 {
		t.Errorf("%d processes, %d threads, %d zombies, %d napping", len(tr.procs), tr.threads(), zombies, napping)
	}
	if !slices.Equal(was, p.shared) {
		t.Error("something counts")
	}
	testkit.Check(t, tr.release())
	p.unharmed()
	for i := range 3 {
		p.runs(i)
	}
}

// TestFreezeThreads: the first thread comes first, the others are sorted by id.
func TestFreezeThreads(t *testing.T) {
	p := startTarget(t, "threads", "9")
	for range 5 {
		tr := frozen(t, p.pid)
		tr.stands(t)
		th := tr.root().threads
		if len(th) != 10 || !slices.IsSortedFunc(th[1:], func(a, b *tracee.Tracee) int { return a.TID - b.TID }) {
			t.Errorf("%d threads", len(th))
		}
		testkit.Check(t, tr.release())
		p.unharmed()
		p.runs(0)
	}
}

// TestFreezeStorm: a tree that starts and ends processes all the time is stopped.
func TestFreezeStorm(t *testing.T) {
	p := startTarget(t, "storm")
	for range 20 {
		tr := frozen(t, p.pid)
		tr.stands(t)
		was := p.count(0)
		for range 5 {
			unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil)
			if p.count(0) != was {
				t.Fatal("it counts on")
			}
		}
		testkit.Check(t, tr.release())
		p.runs(0)
	}
	p.unharmed()
}

// TestAskTraced: whoever is traced already is not asked again, and is not forgotten either.
func TestAskTraced(t *testing.T) {
	p := startTarget(t, "threads", "3")
	tr := frozen(t, p.pid)
	var all []threadID
	for _, th := range tr.root().threads {
		all = append(all, threadID{p.pid, th.TID})
	}
	was := slices.Clone(all)
	if tr.ask(all); !slices.Equal(all, was) {
		t.Errorf("asked were %v, of which are left %v", was, all)
	}
	tr.stands(t)
	testkit.Check(t, tr.release())
	p.unharmed()
}

// TestFreezeStopped: a process that was stopped before still is afterwards.
func TestFreezeStopped(t *testing.T) {
	p := startTarget(t, "threads", "3")
	testkit.Check(t, unix.Kill(p.pid, unix.SIGTSTP))
	stopped := func() bool { return testkit.Must(proc.ReadStat(p.pid))(t).State == 'T' }
	testkit.Soon(t, "it to be stopped", stopped)
	tr := frozen(t, p.pid)
	tr.stands(t)
	if sig := tr.root().threads[0].GroupStop; sig != unix.SIGTSTP {
		t.Errorf("stopped by %v", sig)
	}
	testkit.Check(t, tr.release())
	testkit.Soon(t, "it to be stopped again", stopped)
	testkit.Check(t, unix.Kill(p.pid, unix.SIGCONT))
	p.runs(0)
}

// TestLeave: a tree that is to be stopped or killed is, all of it.
func TestLeave(t *testing.T) {
	p := startTarget(t, "family")
	tr := frozen(t, p.pid)
	testkit.Check(t, tr.end(LeaveStopped))
	testkit.Soon(t, "all to be stopped", func() bool {
		return !slices.ContainsFunc(family(p.pid), func(pid int) bool {
			s := testkit.Must(proc.ReadStat(pid))(t)
			return s.State != 'T' && s.State != 'Z'
		})
	})
	for _, pid := range family(p.pid) {
		_ = unix.Kill(pid, unix.SIGCONT)
	}
	p.unharmed()
	p.runs(0)

	tr = frozen(t, p.pid)
	all := family(p.pid)
	testkit.Check(t, tr.end(LeaveKilled))
	for _, pid := range all {
		if s, err := proc.ReadStat(pid); err == nil && s.State != 'Z' && s.State != 'X' {
			t.Errorf("pid %d is in state %c", pid, s.State)
		}
	}
}

// TestFreezeRefused: a process that can't be held is named, and then none is held.
func TestFreezeRefused(t *testing.T) {
	p := startTarget(t, "family")
	holder := make(chan struct{})
	held := make(chan error)
	children := testkit.Must(proc.Children(p.pid))(t)
	go func() {
		runtime.LockOSThread() // and ends with it
		tr, err := freeze(children[0], time.Minute, nil)
		held <- err
		<-holder
		if err == nil {
			_ = tr.release()
		}
		close(held)
	}()
	testkit.Check(t, <-held)
	_, err := freeze(p.pid, time.Minute, nil)
	var r *Refused
	if !errors.As(err, &r) || len(r.Blockers) != 1 || r.Blockers[0].PID != children[0] || !strings.Contains(err.Error(), "is traced by pid ") {
		t.Error(err)
	}
	p.runs(0)
	close(holder)
	<-held
	p.unharmed()

	if _, err := freeze(1<<22+5, time.Minute, nil); err == nil || !strings.Contains(err.Error(), "there is no process 4194309") {
		t.Error(err)
	}
}

// TestFreezeTimeout: a process that does not stop in time is let go, with the reason.
func TestFreezeTimeout(t *testing.T) {
	// A process that waits in vfork for a child that is stopped does not stop.
	cmd := exec.Command("perl", "-e", `$|=1; print "x"; $p=syscall(58); if ($p == 0) { kill "STOP", $$; exec "true" } sleep 1000`)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	out := testkit.Must(cmd.StdoutPipe())(t)
	testkit.Check(t, cmd.Start())
	defer func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL); _ = cmd.Wait() }()
	_, err := out.Read(make([]byte, 1))
	testkit.Check(t, err)
	pid := cmd.Process.Pid
	testkit.Soon(t, "its child to be stopped", func() bool {
		children, _ := proc.Children(pid)
		if len(children) != 1 {
			return false
		}
		s, err := proc.ReadStat(children[0])
		return err == nil && s.State == 'T'
	})
	freezing := make(chan error)
	go func() {
		runtime.LockOSThread() // it is let go only when this thread ends, because it is not stopped
		_, err := freeze(pid, 50*time.Millisecond, nil)
		freezing <- err
	}()
	err = <-freezing
	if err == nil || !strings.Contains(err.Error(), "waits in vfork for its child, pid ") {
		t.Error(err)
	}
	testkit.Check(t, unix.Kill(family(pid)[1], unix.SIGCONT))
	testkit.Soon(t, "its child to end", func() bool {
		return len(family(pid)) == 1 || testkit.Must(proc.ReadStat(family(pid)[1]))(t).State == 'Z'
	})
	testkit.Soon(t, "it to be let go", func() bool { return testkit.Must(proc.ReadStatus(pid))(t).TracerPid == 0 })
}

// paperTree makes up a tree with random parents, ages and sessions, and with some
// processes whose parent is outside by now.
func paperTree(rng *rand.Rand) *tree {
	t := &tree{byPID: map[int]*process{}}
	n := 1 + rng.IntN(12)
	pids := rng.Perm(50)[:n]
	for i, pid := range pids {
		pid++
		p := &process{pid: pid}
		p.stat.StartTime, p.stat.Session = uint64(rng.IntN(5)), 1+pids[rng.IntN(i+1)]
		if i > 0 {
			p.stat.PPID = 1 + pids[rng.IntN(i)]
			if rng.IntN(10) == 0 {
				p.stat.PPID = 1000 // outside
			}
		}
		t.procs, t.byPID[pid] = append(t.procs, p), p
	}
	rest := t.procs[1:]
	rng.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	return t
}

// TestSort: the order of processes, compared with each of its rules.
func TestSort(t *testing.T) {
	rng := testkit.Random(t)
	adopted, strays := 0, 0
	for range 5000 {
		tr := paperTree(rng)
		all, root := slices.Clone(tr.procs), tr.root()
		tr.sort()
		if tr.root() != root {
			t.Fatal("the root is not the first")
		}
		place := func(p *process) int { return slices.Index(tr.procs, p) }
		descends := func(p *process) bool {
			for p != nil && p != root {
				p = tr.byPID[p.stat.PPID]
			}
			return p == root
		}
		for _, p := range all {
			if (place(p) >= 0) != descends(p) {
				t.Fatalf("pid %d is in the tree: %v", p.pid, place(p) >= 0)
			}
			if place(p) < 0 {
				strays++
				continue
			}
			if p != root && (p.parent != tr.byPID[p.stat.PPID] || place(p.parent) > place(p)) {
				t.Fatalf("pid %d comes before its parent", p.pid)
			}
			for _, q := range all {
				if q == p || place(q) < 0 || q.parent != p.parent || p == root || q == root {
					continue
				}
				pa, qa := tr.reparented(p), tr.reparented(q)
				adopted += pa
				first := pa < qa || pa == qa && (p.stat.StartTime < q.stat.StartTime || p.stat.StartTime == q.stat.StartTime && p.pid < q.pid)
				if first != (place(p) < place(q)) {
					t.Fatalf("pid %d (adopted %d, born %d) and pid %d (%d, %d) are in the wrong order", p.pid, pa, p.stat.StartTime, q.pid, qa, q.stat.StartTime)
				}
			}
		}
	}
	if adopted < 100 || strays < 100 {
		t.Errorf("%d adopted, %d strays", adopted, strays)
	}
}

// TestAdopted: a process that was reparented is recognized by its session.
func TestAdopted(t *testing.T) {
	tr := &tree{byPID: map[int]*process{}}
	add := func(pid, sid int, parent *process) *process {
		tr.add(pid, parent)
		p := tr.byPID[pid]
		p.stat.Session = sid
		return p
	}
	root := add(1, 1, nil)
	leader := add(2, 2, root)
	add(3, 2, leader)
	lost := add(4, 2, root)   // its session is below the root, but only the leader is a sibling
	own := add(5, 5, root)    // in a session of its own
	alone := add(6, 77, root) // nobody else is in its session
	for p, want := range map[*process]int{leader: 0, lost: 1, own: 0, alone: 0} {
		if got := tr.reparented(p); got != want {
			t.Errorf("pid %d: %d", p.pid, got)
		}
	}
	if !below(tr.byPID[3], root) || below(root, root) || below(leader, lost) {
		t.Error("below is wrong")
	}
}

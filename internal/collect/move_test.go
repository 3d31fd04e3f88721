package collect

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/loan"
	"ckpt/internal/move"
	"ckpt/internal/proc"
	"ckpt/internal/testkit"
)

// parked freezes a tree, parks some of its threads, and lets go of it.
func parked(t *testing.T, pid int, only func(i int) bool) *move.Source {
	t.Helper()
	tr := frozen(t, pid)
	d := newDescription(tr)
	for _, p := range tr.procs {
		place := testkit.Must(loan.FindPlace(p.threads[0], testkit.Must(proc.ReadMaps(p.pid))(t), nil, 0))(t)
		d.about[p] = &about{place: place}
	}
	src := testkit.Must(move.Begin(move.NewID(), d.header.Checkpoint, testkit.Must(d.named())(t)))(t)
	t.Cleanup(func() { _ = src.Remove() })
	testkit.Check(t, src.MayTrace())
	for _, p := range tr.procs {
		for i := range p.threads {
			if !only(i) {
				p.threads = slices.Clone(p.threads[:i])
				break
			}
		}
	}
	testkit.Check(t, tr.park(src.Procs))
	testkit.Check(t, tr.release())
	return src
}

func counts(p *target) (all []uint64) {
	for i := range 16 {
		all = append(all, p.count(i))
	}
	return all
}

// TestPark: who is parked does nothing, with nobody to hold him, also if he is continued; then
// he goes on as he was. So do those whose ckpt-collect was killed when it had parked some.
func TestPark(t *testing.T) {
	for _, args := range [][]string{{"threads", "6"}, {"naps"}} {
		t.Run(args[0], func(t *testing.T) {
			p := startTarget(t, args...)
			for _, some := range []bool{false, true, false} {
				src := parked(t, p.pid, func(i int) bool { return !some || i < 3 })
				if !some {
					was := counts(p)
					for range 20 {
						testkit.Check(t, p.cmd.Process.Signal(unix.SIGCONT))
						time.Sleep(time.Millisecond)
					}
					if now := counts(p); !slices.Equal(now, was) {
						t.Errorf("it ran: %v, then %v", was, now)
					}
				}
				testkit.Check(t, src.Keep().Resume(time.Minute))
				for _, th := range src.Procs[0].Threads {
					status := testkit.Must(proc.ReadThreadStatus(p.pid, th.TID))(t)
					// Go blocks all signals for the moments in which it makes a thread.
					const all = ^uint64(1<<(unix.SIGKILL-1) | 1<<(unix.SIGSTOP-1))
					if th.Mask != all && uint64(status.SigBlk) != th.Mask || status.TracerPid != 0 {
						t.Errorf("thread %d: mask %x, not %x, traced by %d", th.TID, status.SigBlk, th.Mask, status.TracerPid)
					}
				}
				was := counts(p)
				testkit.Soon(t, "all that counted to count", func() bool {
					for i, n := range counts(p) {
						if was[i] != 0 && n == was[i] {
							return false
						}
					}
					return true
				})
				testkit.Check(t, src.Remove())
			}
		})
	}
}

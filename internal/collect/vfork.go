package collect

import (
	"context"
	"fmt"
	"slices"
	"time"

	"ckpt/internal/kcmp"
	"ckpt/internal/proc"
	"ckpt/internal/tracee"
)

// A thread in vfork(2), clone(2) with CLONE_VFORK, or posix_spawn(3), sleeps uninterruptibly
// until its child runs another program or ends: it does not stop, and its registers can't be
// read. Mostly that is over within a millisecond, and the stop waits for it.

// awaitVfork waits as long for the threads of a tree that are in vfork(2) now, while all run
// on: those that stop would stand still meanwhile.
func awaitVfork(ctx context.Context, root int, limit time.Duration) error {
	const shortest, longest = 200 * time.Microsecond, 20 * time.Millisecond
	all, begin := vforks(root, map[int]bool{}), time.Now()
	for pause := shortest; len(all) > 0; pause = min(2*pause, longest) {
		all = slices.DeleteFunc(all, func(th threadID) bool { return !inVfork(th.pid, th.tid) })
		switch {
		case len(all) == 0:
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Since(begin) > limit:
			return refused(all[0].pid, whyVfork(all[0].pid, all[0].tid))
		default:
			time.Sleep(pause)
		}
	}
	return nil
}

// vforks returns the threads of a process and its descendants that are in vfork(2).
func vforks(pid int, seen map[int]bool) (all []threadID) {
	if seen[pid] {
		return nil
	}
	seen[pid] = true
	tids, _ := proc.Threads(pid) // none if it has ended by now
	for _, tid := range tids {
		if inVfork(pid, tid) {
			all = append(all, threadID{pid, tid})
		}
	}
	children, _ := proc.Children(pid)
	for _, child := range children {
		all = append(all, vforks(child, seen)...)
	}
	return all
}

// inVfork reports whether a thread waits in vfork(2).
func inVfork(pid, tid int) bool {
	stat, err := proc.ReadThreadStat(pid, tid)
	if err != nil || stat.State != 'D' {
		return false
	}
	call, err := proc.ReadSyscall(pid, tid)
	return err == nil && slices.Contains(tracee.CloneCalls, call) && vforkChild(pid, tid) != 0
}

// vforkChild returns the child that a thread in vfork(2) waits for: the youngest with which
// it shares its memory; 0 if there is none.
func vforkChild(pid, tid int) int {
	children, _ := proc.Children(pid)
	for _, child := range slices.Backward(children) {
		if o, err := kcmp.Compare(tid, child, kcmp.VM, 0, 0); err == nil && o == kcmp.Equal {
			return child
		}
	}
	return 0
}

func whyVfork(pid, tid int) error {
	child := vforkChild(pid, tid)
	return fmt.Errorf("waits in vfork for its child, pid %d (%s), to run another program or end; that did not happen in time (--timeout)", child, commOf(child, child))
}

package judge

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/proc"
)

// reapTime is how long a parent is given to reap a process that has ended.
const reapTime = 2 * time.Second

// ownPIDs is the hint for an id that can't be freed.
const ownPIDs = "restore with process ids of its own: ckpt-read < img | ckpt-apply --pids namespace, or --pids new if it remembers none"

const endFirst = "end that first, or " + ownPIDs

// PIDTaken returns an error that says who has a process or thread id that is needed, and
// how it can be freed. If it finds nobody, the id may still be taken; the kernel will
// tell.
func PIDTaken(id int) []error { return newSearch().taken(id) }

// search is PIDTaken for many ids, with a limit on how long it waits for parents to reap:
// there may be many that don't.
type search struct {
	until time.Time
	most  int64 // kernel.pid_max
}

func newSearch() *search {
	most, err := proc.ReadSysctl("kernel/pid_max")
	if err != nil {
		most = maxPID + 1
	}
	return &search{time.Now().Add(reapTime), most}
}

func (s *search) taken(id int) []error {
	if int64(id) >= s.most {
		return []error{cli.WithHint(fmt.Errorf("process id %d can't be used: this system has none above %d (kernel.pid_max)", id, s.most-1),
			fmt.Sprintf("sysctl kernel.pid_max=%d", max(id+1, 1<<16)))}
	}
	pause := time.Millisecond / 2
	for ; ; time.Sleep(pause) {
		pause = min(2*pause, 20*time.Millisecond)
		// A process that was killed just now will soon be reaped.
		wait := time.Now().Before(s.until)
		if stat, err := proc.ReadStat(id); err == nil {
			if wait && ended(stat) {
				continue
			}
			return []error{taken(id, stat)}
		}
		if unix.Kill(-id, 0) == unix.ESRCH {
			return nil
		}
		if member, lives := memberOf(id); member != 0 && (lives || !wait) {
			return []error{inUse(id, fmt.Sprintf("the process group %d, which %s is in", id, proc.Named(member)), endFirst)}
		}
		if !wait {
			return nil
		}
	}
}

// memberOf returns a process of a group, preferably one that lives.
func memberOf(pgid int) (pid int, lives bool) {
	all, _ := proc.Processes()
	for _, p := range all {
		if stat, err := proc.ReadStat(p); err == nil && stat.PGRP == pgid {
			if pid = p; !ended(stat) {
				return pid, true
			}
		}
	}
	return pid, false
}

// sessions returns all sessions, each with a living process in it. A session whose
// leader has ended shows only in its other processes.
func sessions() map[int]int {
	in := map[int]int{}
	all, _ := proc.Processes()
	for _, p := range all {
		if stat, err := proc.ReadStat(p); err == nil && !ended(stat) {
			in[stat.Session] = p
		}
	}
	return in
}

func ended(stat proc.Stat) bool { return stat.State == 'Z' || stat.State == 'X' }

func taken(id int, stat proc.Stat) error {
	self := os.Getpid()
	own, _ := proc.ReadStat(self)
	status, err := proc.ReadStatus(id)
	if err != nil {
		status.Tgid = id
	}
	who := stat.Comm
	if status.Tgid != id {
		who = "a thread of " + proc.Named(status.Tgid)
	}
	const again = "run the pipeline again: its programs get other process ids then; or " + ownPIDs
	switch {
	case status.Tgid == self:
		return inUse(id, "ckpt-apply itself", again)
	case ended(stat):
		return held(id, stat)
	case isAncestor(status.Tgid, self):
		return inUse(id, who+", from which ckpt-apply was started",
			"start it from another shell, or "+ownPIDs)
	case own.PGRP != 0 && stat.PGRP == own.PGRP:
		return inUse(id, who+", which was started together with ckpt-apply", again)
	}
	return inUse(id, who, endFirst)
}

func inUse(id int, who, hint string) error {
	return cli.WithHint(fmt.Errorf("process id %d is in use by %s", id, who), hint)
}

// held is the error for an id that a zombie has.
func held(id int, stat proc.Stat) error {
	parent := "a process outside this pid namespace"
	if stat.PPID != 0 {
		parent = proc.Named(stat.PPID)
	}
	return cli.WithHint(fmt.Errorf("process id %d is in use by %s, which has ended, but its parent, %s, has not waited for it", id, stat.Comm, parent),
		fmt.Sprintf("the id is free when %s waits for it or ends; or %s", parent, ownPIDs))
}

// isAncestor reports whether a process is an ancestor of pid.
func isAncestor(ancestor, pid int) bool {
	for pid > 1 {
		stat, err := proc.ReadStat(pid)
		if err != nil {
			return false
		}
		if pid = stat.PPID; pid == ancestor {
			return true
		}
	}
	return false
}

package proc

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Threads lists the thread ids of a process, ascending. The process's own id is
// among them even if its first thread has ended, as a zombie.
func Threads(pid int) ([]int, error) { return here.Threads(pid) }

// Threads is the function of that name.
func (v View) Threads(pid int) ([]int, error) {
	tids, err := readNumbers(v.Path(pid, "task"))
	if err != nil {
		return nil, ofPid(pid, err)
	}
	return tids, nil
}

// Living returns the id by which /proc shows the memory and the files of a process: its
// own, or, if its first thread has ended while others go on, that of another.
func Living(pid int) int { return here.Living(pid) }

// Living is the function of that name.
func (v View) Living(pid int) int {
	if stat, err := v.ReadStat(pid); err == nil && stat.State == 'Z' && stat.NumThreads > 1 {
		if tids, err := v.Threads(pid); err == nil {
			for _, tid := range tids {
				if stat, err := v.ReadThreadStat(pid, tid); err == nil && stat.State != 'Z' && stat.State != 'X' {
					return tid
				}
			}
		}
	}
	return pid
}

// Children lists the child processes of all threads of a process, zombies too,
// ascending. It is reliable only if neither the process nor its children run.
func Children(pid int) ([]int, error) { return here.Children(pid) }

// Children is the function of that name.
func (v View) Children(pid int) ([]int, error) {
	tids, err := v.Threads(pid)
	if err != nil {
		return nil, err
	}
	var all []int
	for _, tid := range tids {
		b, err := readFile(v.threadPath(pid, tid, "children"))
		switch {
		case err == nil:
		case errors.Is(err, fs.ErrNotExist) && v.threadExists(pid, tid):
			return v.childrenByScan(pid) // no CONFIG_PROC_CHILDREN
		case Gone(err):
			continue // the thread ended; its children have moved to another
		default:
			return nil, ofPid(pid, err)
		}
		children, err := ParseChildren(b)
		if err != nil {
			return nil, ofPid(pid, err)
		}
		all = append(all, children...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// ParseChildren parses the text of a children file: ids separated by blanks.
func ParseChildren(b []byte) ([]int, error) {
	var all []int
	if !setInts(&all, string(b)) {
		return nil, malformed("children", b)
	}
	return all, nil
}

func (v View) threadExists(pid, tid int) bool {
	_, err := os.Lstat(strings.TrimSuffix(v.threadPath(pid, tid, ""), "/"))
	return err == nil
}

// childrenByScan finds children by asking every process for its parent.
func (v View) childrenByScan(pid int) ([]int, error) {
	pids, err := v.Processes()
	if err != nil {
		return nil, ofPid(pid, err)
	}
	var all []int
	for _, p := range pids {
		s, err := v.ReadStat(p)
		if Gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if s.PPID == pid {
			all = append(all, p)
		}
	}
	return all, nil
}

// Cgroup is one line of /proc/PID/cgroup (cgroups(7)).
type Cgroup struct {
	HierarchyID int      // 0: the unified hierarchy, cgroup v2
	Controllers []string // empty for v2; "name=systemd" for one named
	Path        string   // from the root of the reader's cgroup namespace; ends in " (deleted)" if it is
}

// Cgroups lists the control groups a process is in.
func Cgroups(pid int) ([]Cgroup, error) {
	return readParsed(pid, Path(pid, "cgroup"), ParseCgroups)
}

// ParseCgroups parses lines "4:memory:/path". A path has no newline, which
// names of cgroups may not contain, but may have colons, as may a hierarchy's name.
func ParseCgroups(b []byte) ([]Cgroup, error) {
	var all []Cgroup
	for line := range bytes.SplitSeq(b, []byte{'\n'}) {
		if len(line) == 0 {
			continue
		}
		var c Cgroup
		id, rest, ok := strings.Cut(string(line), ":")
		names, path, found := strings.Cut(rest, ":/")
		if !ok || !found || !setInt(&c.HierarchyID, id) {
			return nil, malformed("cgroup line", line)
		}
		c.Path = "/" + path
		if names != "" {
			c.Controllers = strings.Split(names, ",")
		}
		all = append(all, c)
	}
	return all, nil
}

// ReadSyscall returns the number of the system call a thread is in, -1 if it is in
// none, from /proc/PID/task/TID/syscall, for readers that may ptrace it.
func ReadSyscall(pid, tid int) (int, error) {
	return readParsed(tid, ThreadPath(pid, tid, "syscall"), func(b []byte) (int, error) {
		word, _, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
		var n int
		if word == "running" {
			return -1, nil
		}
		if !setInt(&n, word) {
			return 0, malformed("syscall", b)
		}
		return n, nil
	})
}

// ReadWchan returns the name of the kernel's function in which a thread sleeps, ""
// if it runs or the kernel does not tell, see /proc/PID/wchan in proc_pid_wchan(5).
func ReadWchan(pid, tid int) (string, error) {
	return readParsed(tid, ThreadPath(pid, tid, "wchan"), func(b []byte) (string, error) {
		if name := strings.TrimSpace(string(b)); name != "0" {
			return name, nil
		}
		return "", nil
	})
}

// ReadExecStart returns when a thread last ran, by the scheduler's clock: ns since
// some moment at boot (se.exec_start in /proc/PID/task/TID/sched, kernels with
// CONFIG_SCHED_DEBUG or newer ones).
func ReadExecStart(pid, tid int) (time.Duration, error) {
	return readParsed(tid, ThreadPath(pid, tid, "sched"), func(b []byte) (time.Duration, error) {
		_, rest, found := strings.Cut(string(b), "se.exec_start")
		line, _, _ := strings.Cut(rest, "\n")
		_, text, colon := strings.Cut(line, ":")
		ms, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if !found || !colon || err != nil || !(ms >= 0 && ms < 1e15) {
			return 0, malformed("sched", b[:min(len(b), 80)])
		}
		return time.Duration(ms * 1e6), nil
	})
}

package tests

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// snapshot is what /proc shows of a tree and should show again after a restore, by
// the name of the file and the task it belongs to.
type snapshot map[string]string

// takeSnapshot looks at a waiting tree until it finds the same twice.
func takeSnapshot(root int) snapshot {
	last := look(root)
	for range 200 {
		time.Sleep(5 * time.Millisecond)
		now := look(root)
		if maps.Equal(last, now) {
			break
		}
		last = now
	}
	return last
}

// look looks at a process and its descendants.
func look(root int) snapshot {
	s := snapshot{}
	nodes := map[string]string{} // pipes and the like by their number: the first that has it
	for pids := []int{root}; len(pids) > 0; pids = pids[1:] {
		pid := pids[0]
		children, _ := proc.Children(pid)
		slices.Sort(children)
		pids = append(pids, children...)
		s.process(pid, pid == root, nodes)
	}
	return s
}

// statusLines of proc_pid_status(5) that are compared.
var statusLines = []string{"Name", "Umask", "Uid", "Gid", "Groups", "Threads", "VmLck", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt",
	"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Cpus_allowed", "Mems_allowed", "THP_enabled"}

// statFields of proc_pid_stat(5) that are compared, by their number there.
var statFields = map[int]string{18: "priority", 19: "nice", 20: "threads", 26: "start of code", 27: "end of code",
	28: "start of the stack", 38: "exit signal", 40: "real-time priority", 41: "policy", 45: "start of data", 46: "end of data", 47: "brk",
	48: "arguments", 49: "end of arguments", 50: "environment", 51: "end of environment"}

func (s snapshot) process(pid int, root bool, nodes map[string]string) {
	dir := fmt.Sprintf("/proc/%d", pid)
	add := func(name, value string) { s[fmt.Sprintf("pid %d: %s", pid, name)] = value }
	stat := statOf(dir)
	if !root {
		add("parent", stat[4])
	}
	add("group and session", stat[5]+" "+stat[6])
	at := proc.Living(pid)
	if add("zombie", strconv.FormatBool(stat[3] == "Z")); stat[3] == "Z" {
		add("status", stat[52])
		if at == pid {
			return
		}
	}
	dir = fmt.Sprintf("/proc/%d", at) // the first thread may have ended
	for _, name := range []string{"limits", "cgroup", "coredump_filter", "personality", "oom_score_adj", "loginuid", "environ", "cmdline",
		"auxv", "timens_offsets"} {
		add(name, procText(dir, name))
	}
	_, nice, _ := strings.Cut(procText(dir, "autogroup"), " ")
	add("autogroup", nice)
	for _, name := range []string{"cwd", "root", "exe"} {
		add(name, plain(readLink(dir, name)))
	}
	add("maps", mapsOf(dir))
	add("NUMA policies", policiesOf(dir))
	add("timers", procText(dir, "timers"))
	tids, _ := proc.Threads(pid)
	for _, tid := range tids {
		s.thread(fmt.Sprintf("/proc/%d/task/%d", pid, tid), func(name, value string) { s[fmt.Sprintf("pid %d: thread %d: %s", pid, tid, name)] = value })
	}
	fds, _ := proc.FDs(at)
	add("descriptors", fmt.Sprint(fds))
	for _, fd := range fds {
		link := readLink(dir, fmt.Sprintf("fd/%d", fd))
		if numbered.MatchString(link) {
			if nodes[link] == "" {
				nodes[link] = fmt.Sprintf("that of pid %d fd %d", pid, fd)
			}
			link = numbered.ReplaceAllString(link, "$1") + nodes[link]
		}
		add(fmt.Sprintf("fd %d", fd), plain(link))
		add(fmt.Sprintf("fdinfo %d", fd), fdinfoOf(procText(dir, fmt.Sprintf("fdinfo/%d", fd))))
	}
}

// statOf are the fields of a stat file by their number in proc_pid_stat(5), from
// the third on.
func statOf(dir string) map[int]string {
	text := procText(dir, "stat")
	fields := map[int]string{}
	for i, f := range strings.Fields(text[strings.LastIndexByte(text, ')')+1:]) {
		fields[i+3] = f
	}
	return fields
}

func (s snapshot) thread(dir string, add func(name, value string)) {
	stat := statOf(dir)
	for n, name := range statFields {
		add(name, stat[n])
	}
	add("stopped", strconv.FormatBool(stat[3] == "T"))
	for line := range strings.Lines(procText(dir, "status")) {
		if name, value, _ := strings.Cut(line, ":"); slices.Contains(statusLines, name) {
			add(name, strings.TrimSpace(value))
		}
	}
	for _, ns := range []string{"mnt", "net", "ipc", "uts", "pid", "user", "cgroup"} {
		is := readLink(dir, "ns/"+ns)
		if ns == "mnt" && is != readLink("/proc/self", "ns/mnt") { // that one was made anew
			is = "its own"
		}
		add("namespace "+ns, is)
	}
}

var (
	numbered   = regexp.MustCompile(`^(pipe:|socket:)\[\d+\]$`)
	deleted    = regexp.MustCompile(`/[^ ]*( \(deleted\))`)
	anonymous  = regexp.MustCompile(`\d+ *(/memfd:|/dev/zero|/SYSV|/anon_hugepage|/[^ ]* \(deleted\)|\[anon_shmem|anon_inode:\[io_uring)`)
	watched    = regexp.MustCompile(`pos:\d+ ino:[0-9a-f]+ sdev:[0-9a-f]+`)
	watchedIno = regexp.MustCompile(` ino:[0-9a-f]+ sdev:[0-9a-f]+| ignored_mask:.*`)
	lockOwners = regexp.MustCompile(`(lock:.*(?:READ|WRITE) +)\S+ \S+`)
)

// deletedFile replaces the name of a deleted file. One that has another name left
// is known by that one after a restore.
const deletedFile = "a deleted file"

// plain replaces the names of deleted files, which are different after a restore.
func plain(link string) string {
	if strings.HasPrefix(link, "/memfd:") {
		return link
	}
	return deleted.ReplaceAllString(link, deletedFile)
}

// mapsOf are the mappings with their flags, without the inode numbers of files that
// have no name.
func mapsOf(dir string) string {
	var b strings.Builder
	for line := range strings.Lines(procText(dir, "smaps")) {
		name, _, _ := strings.Cut(line, ":")
		switch fields := strings.Fields(line); {
		case name == "VmFlags":
			line = strings.Replace(line, " sd", "", 1) // whether it was written to
			if !strings.Contains(line, " mw") {
				line = strings.Replace(line, " sh", "", 1) // whether the file was open for writing, too
			}
		case name == "KernelPageSize", name == "ProtectionKey":
		case strings.Contains(fields[0], "-"):
			if len(fields) > 5 && strings.HasPrefix(fields[3], "00:") && readLink(dir, "ns/mnt") != readLink("/proc/self", "ns/mnt") {
				fields[3], fields[4] = "-", "-" // it may be on a file system that was made anew
			}
			if anonymous.MatchString(line) {
				fields[3], fields[4] = "-", "-"
				if !strings.HasPrefix(fields[5], "/memfd:") && !strings.HasPrefix(fields[5], "/SYSV") {
					fields = append(fields[:5], deletedFile)
				}
			}
			line = strings.Join(fields, " ") + "\n"
		default:
			continue
		}
		b.WriteString(line)
	}
	return b.String()
}

// policiesOf are the NUMA policies of the mappings.
func policiesOf(dir string) string {
	var b strings.Builder
	for line := range strings.Lines(procText(dir, "numa_maps")) {
		if fields := strings.Fields(line); len(fields) > 1 {
			b.WriteString(fields[0] + " " + fields[1] + "\n")
		}
	}
	return b.String()
}

// lostFlags tell how a file was opened.
const lostFlags = unix.O_NOFOLLOW | unix.O_TMPFILE

// fdinfoOf leaves out what only identifies the object.
func fdinfoOf(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "mnt_id", "ino", "eventfd-id":
			continue
		case "ticks", "it_value": // they change with time
			continue
		case "lock":
			line = lockOwners.ReplaceAllString(line, "$1")
		case "flags":
			flags, _ := strconv.ParseUint(strings.TrimSpace(value), 8, 64)
			line = fmt.Sprintf("flags: %#o\n", flags&^lostFlags)
		case "inotify wd":
			line = watchedIno.ReplaceAllString(line, " ")
		case "tfd":
			// A spent EPOLLONESHOT watch reports errors and hang-ups again.
			line = strings.Replace(watched.ReplaceAllString(line, ""), " 40000018 ", " 40000000 ", 1)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines) // an epoll lists its targets in no order
	return strings.Join(lines, "")
}

func procText(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err.Error()
	}
	return string(bytes.ReplaceAll(b, []byte{0}, []byte{'\n'}))
}

func readLink(dir, name string) string {
	target, err := os.Readlink(filepath.Join(dir, name))
	if err != nil {
		return err.Error()
	}
	return target
}

// compare reports what differs after a restore.
func (s snapshot) compare(t *testing.T, now snapshot) {
	t.Helper()
	for name, was := range s {
		if is, ok := now[name]; !ok {
			t.Errorf("%s: was\n%s\nand is not there", name, was)
		} else if is != was && was != deletedFile {
			t.Errorf("%s: was\n%s\nand is\n%s", name, was, is)
		}
	}
	for name, is := range now {
		if _, ok := s[name]; !ok {
			t.Errorf("%s: is\n%s\nand was not there", name, is)
		}
	}
}

package proc

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startSleep starts a program that does nothing, and waits until it has been
// executed.
func startSleep(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 1000 { // the kernel sets the arguments last
		if b, err := ReadCmdline(cmd.Process.Pid); err == nil && len(b) > 0 {
			return cmd.Process.Pid
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("sleep has not been executed")
	return 0
}

// must fails the test on an error.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestSleepingChild(t *testing.T) {
	pid, me := startSleep(t), os.Getpid()
	s := must[Stat](t)(ReadStat(pid))
	equal(t, "stat", []any{s.PID, s.Comm, s.PPID, s.NumThreads, s.ExitSignal}, []any{pid, "sleep", me, 1, int(unix.SIGCHLD)})
	equal(t, "kernel thread", IsKernelThread(s), false)
	thread := must[Stat](t)(ReadThreadStat(pid, pid))
	equal(t, "start time", thread.StartTime, s.StartTime)
	equal(t, "name", must[string](t)(ReadComm(pid, pid)), "sleep")
	equal(t, "arguments", must[[]byte](t)(ReadCmdline(pid)), []byte("sleep\x001000\x00"))
	equal(t, "threads", must[[]int](t)(Threads(pid)), []int{pid})
	if all := must[[]int](t)(Children(me)); !slices.Contains(all, pid) {
		t.Errorf("children %v lack %d", all, pid)
	}
	scanned := must[[]int](t)(here.childrenByScan(me))
	equal(t, "children by scan", scanned, must[[]int](t)(Children(me)))
	exe := must[string](t)(os.Readlink(Path(pid, "exe")))
	maps := must[[]Mapping](t)(ReadMaps(pid))
	if !slices.ContainsFunc(maps, func(m Mapping) bool { return m.Path == exe && m.Prot&unix.PROT_EXEC != 0 }) {
		t.Errorf("%s is not mapped", exe)
	}
	if _, err := ReadTimerSlack(pid); err != nil && os.Geteuid() == 0 {
		t.Error(err)
	}
	equal(t, "timers", len(must[[]Timer](t)(ReadTimers(pid))), 0)
}

func TestSelf(t *testing.T) {
	pid := os.Getpid()
	st := must[Status](t)(ReadStatus(pid))
	equal(t, "ids", []int{st.Tgid, st.Pid, st.PPid}, []int{pid, pid, os.Getppid()})
	equal(t, "uid", st.Uid[1], uint32(os.Geteuid()))
	if st.VmRSS == 0 || st.Threads < 2 || len(st.NSpid) == 0 {
		t.Errorf("status %+v", st)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread := must[Status](t)(ReadThreadStatus(pid, unix.Gettid()))
	equal(t, "thread", []int{thread.Tgid, thread.Pid}, []int{pid, unix.Gettid()})
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		t.Fatal(err)
	}
	l := must[Limits](t)(ReadLimits(pid))
	equal(t, "limit", l[unix.RLIMIT_NOFILE], Limit{r.Cur, r.Max})
	must[uint32](t)(ReadPersonality(pid))
	must[uint32](t)(ReadCoredumpFilter(pid))
	if adj := must[int](t)(ReadOOMScoreAdj(pid)); adj < -1000 || adj > 1000 {
		t.Error("oom_score_adj", adj)
	}
	if n := len(must[[]byte](t)(ReadAuxv(pid))); n < 32 || n%16 != 0 {
		t.Error("auxv of", n, "bytes")
	}
	if len(must[[]Cgroup](t)(Cgroups(pid))) == 0 {
		t.Error("in no cgroup")
	}
	if _, err := ReadAutogroup(pid); err != nil && !Gone(err) {
		t.Error(err)
	}
	ns := must[map[string]uint64](t)(Namespaces(pid, pid))
	var stat unix.Stat_t
	if err := unix.Stat("/proc/self/ns/mnt", &stat); err != nil {
		t.Fatal(err)
	}
	equal(t, "mount namespace", ns["mnt"], stat.Ino)
	if len(must[string](t)(BootID())) != 36 || must[string](t)(KernelRelease()) == "" {
		t.Error("no boot id or release")
	}
}

func TestOddName(t *testing.T) {
	const odd = ") R 1\n\\ (x"
	runtime.LockOSThread() // never unlocked: the thread ends with its name
	name := append([]byte(odd), 0)
	if err := os.WriteFile("/proc/thread-self/comm", name[:len(odd)], 0); err != nil {
		t.Fatal(err)
	}
	pid, tid := os.Getpid(), unix.Gettid()
	equal(t, "stat", must[Stat](t)(ReadThreadStat(pid, tid)).Comm, odd)
	equal(t, "status", must[Status](t)(ReadThreadStatus(pid, tid)).Name, odd)
	equal(t, "comm", must[string](t)(ReadComm(pid, tid)), odd)
}

func TestDescriptors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a\nb \\012 \xff")
	f := must[*os.File](t)(os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600))
	defer f.Close()
	if _, err := f.WriteString("12345"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	pid, fd := os.Getpid(), int(f.Fd())
	if fds := must[[]int](t)(FDs(pid)); !slices.Contains(fds, fd) || !slices.IsSorted(fds) {
		t.Errorf("descriptors %v", fds)
	}
	equal(t, "link", must[string](t)(FDLink(pid, fd)), path)
	info := must[FDInfo](t)(ReadFDInfo(pid, fd))
	equal(t, "position", info.Pos, int64(5))
	const want = unix.O_RDWR | unix.O_APPEND | unix.O_CLOEXEC
	equal(t, "flags", info.Flags&want, uint32(want))
	if len(info.Locks) != 1 || info.Locks[0].Type != "FLOCK" || info.Locks[0].PID != pid {
		t.Errorf("locks %+v", info.Locks)
	}
	os.Remove(path)
	equal(t, "deleted", must[string](t)(FDLink(pid, fd)), path+" (deleted)")
}

// TestLongFDInfo: all of a file that is longer than most of its kind is read.
func TestLongFDInfo(t *testing.T) {
	ep := must[int](t)(unix.EpollCreate1(unix.EPOLL_CLOEXEC))
	defer unix.Close(ep)
	for n := range 300 {
		fd := must[int](t)(unix.Eventfd(0, unix.EFD_CLOEXEC))
		defer unix.Close(fd)
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
			t.Fatal(err)
		}
		info := must[FDInfo](t)(ReadFDInfo(os.Getpid(), ep))
		if targets := must[[]EpollTarget](t)(info.EpollTargets()); len(targets) != n+1 {
			t.Fatalf("%d targets are seen of %d", len(targets), n+1)
		}
	}
}

func TestMappingsOfSelf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new\nline\r ")
	f := must[*os.File](t)(os.Create(path))
	defer f.Close()
	if err := f.Truncate(8192); err != nil {
		t.Fatal(err)
	}
	mem := must[[]byte](t)(unix.Mmap(int(f.Fd()), 4096, 4096, unix.PROT_READ, unix.MAP_SHARED))
	defer unix.Munmap(mem)
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func(int) ([]Mapping, error){"smaps": ReadMappings, "maps": ReadMaps} {
		all := must[[]Mapping](t)(read(os.Getpid()))
		i := slices.IndexFunc(all, func(m Mapping) bool { return m.Start == addressOf(mem) })
		if i < 0 {
			t.Fatalf("%s: mapping not found", name)
		}
		m := all[i]
		if m.Path != path || m.Offset != 4096 || !m.Shared || m.Inode != stat.Ino || m.Prot != unix.PROT_READ {
			t.Errorf("%s: %+v", name, m)
		}
		equal(t, name, m.VmFlags.Has("sh"), name == "smaps")
		if !slices.ContainsFunc(all, func(m Mapping) bool { return m.Name() == "[vdso]" }) {
			t.Errorf("%s: no vdso", name)
		}
	}
}

func TestZombie(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the kernel shows little of a zombie to others than root")
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	cmd.Process.Kill()
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	s := must[Stat](t)(ReadStat(pid))
	equal(t, "zombie", []any{s.State, s.ExitCode}, []any{byte('Z'), int(unix.SIGKILL)})
	equal(t, "maps", len(must[[]Mapping](t)(ReadMappings(pid))), 0)
	if auxv, err := ReadAuxv(pid); len(auxv) > 0 || err != nil && !Gone(err) {
		t.Error("auxv", auxv, err)
	}
	ns := must[map[string]uint64](t)(Namespaces(pid, pid))
	equal(t, "has mount namespace", ns["mnt"] != 0, false)
	equal(t, "has user namespace", ns["user"] != 0, true)
	if !slices.Contains(must[[]int](t)(Children(os.Getpid())), pid) {
		t.Error("not among the children")
	}
	equal(t, "descriptors", len(must[[]int](t)(FDs(pid))), 0)
	cmd.Wait()
	for _, err := range []error{second(ReadStat(pid)), second(ReadStatus(pid)), second(Threads(pid)),
		second(Children(pid)), second(ReadMaps(pid)), second(FDs(pid)), second(Namespaces(pid, pid)),
		second(ReadCmdline(pid)), second(ReadFDInfo(pid, 0))} {
		if !Gone(err) || !strings.HasPrefix(err.Error(), "pid ") {
			t.Error(err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestReadTimers(t *testing.T) {
	// A program that makes a POSIX timer; perl's syscall needs no library.
	cmd := exec.Command("perl", "-e", `$id=pack("i",0); syscall(`+strconv.Itoa(unix.SYS_TIMER_CREATE)+`,1,0,$id); $|=1; print "x"; sleep 1000`)
	out := must[io.ReadCloser](t)(cmd.StdoutPipe())
	if err := cmd.Start(); err != nil {
		t.Skip("no perl: ", err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	must[int](t)(out.Read(make([]byte, 1)))
	all := must[[]Timer](t)(ReadTimers(cmd.Process.Pid))
	equal(t, "timers", all, []Timer{{Signal: int(unix.SIGALRM), Notify: all[0].Notify, Mode: "signal",
		Target: cmd.Process.Pid, ClockID: unix.CLOCK_MONOTONIC}})
}

func TestKernelThread(t *testing.T) {
	s, err := ReadStat(2)
	if err != nil || s.Comm != "kthreadd" {
		t.Skip("not in the first pid namespace")
	}
	equal(t, "kernel thread", IsKernelThread(s), true)
	equal(t, "maps", len(must[[]Mapping](t)(ReadMappings(2))), 0)
	equal(t, "cmdline", bytes.Equal(must[[]byte](t)(ReadCmdline(2)), nil), true)
}

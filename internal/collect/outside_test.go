package collect

import (
	"os"
	"os/exec"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// sharerEnv turns this program into one that maps its descriptor 3.
const sharerEnv = "CKPT_TEST_SHARER"

func TestMain(m *testing.M) {
	if os.Getenv(toolEnv) != "" {
		os.Exit(beTool(m))
	}
	if os.Getenv(sharerEnv) == "" {
		os.Exit(func() int {
			var err error
			if programDir, err = os.MkdirTemp("", "ckpt-collect-"); err != nil {
				panic(err)
			}
			defer os.RemoveAll(programDir)
			return m.Run()
		}())
	}
	if _, err := unix.Mmap(3, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED); err != nil {
		panic(err)
	}
	_, _ = os.Stdout.WriteString("mapped\n")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the test ends
}

// newSharer starts a process that shares a memfd's memory.
func newSharer(t *testing.T, memfd *os.File) (pid int) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env, cmd.ExtraFiles = []string{sharerEnv + "=1"}, []*os.File{memfd}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func newMemfd(t *testing.T) (f *os.File, key sharedFile) {
	t.Helper()
	fd, err := unix.MemfdCreate("shared", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f = os.NewFile(uintptr(fd), "memfd")
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(int64(os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return f, sharedFile{st.Dev, st.Ino}
}

// TestNewOutsider: a process that begins to share the target's memory after the others
// were looked at is found.
func TestNewOutsider(t *testing.T) {
	memfd, key := newMemfd(t)
	target := newSharer(t, memfd)
	o := lookOutside(idsOf(t, target))
	if pid := o.mapped[key]; pid != 0 {
		t.Fatalf("pid %d shares the memory, too", pid)
	}
	other := newSharer(t, memfd)
	o.lookAgain(mappings(t, target))
	if pid := o.mapped[key]; pid != other {
		t.Errorf("pid %d shares the memory, it is said, and not %d", pid, other)
	}
}

// TestNewlyShared: memory of an old process that the target gets only later is found.
func TestNewlyShared(t *testing.T) {
	memfd, key := newMemfd(t)
	other := newSharer(t, memfd)
	quiet := exec.Command("sleep", "1000")
	if err := quiet.Start(); err != nil {
		t.Fatal(err)
	}
	o := lookOutside(idsOf(t, quiet.Process.Pid))
	_ = quiet.Process.Kill()
	_ = quiet.Wait()
	target := newSharer(t, memfd)
	o.tree = map[int]bool{target: true}
	o.lookAgain(mappings(t, target))
	if pid := o.mapped[key]; pid != other {
		t.Errorf("pid %d shares the memory, it is said, and not %d", pid, other)
	}
}

// TestWhoHasIt has one of those who had a pipe open end, and another turn out to
// be of the tree, as a child does that was forked just before the stop.
func TestWhoHasIt(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(r.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	start := func() (pid int, end func()) {
		cmd := exec.Command("sleep", "1000")
		cmd.ExtraFiles = []*os.File{r}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		end = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		t.Cleanup(end)
		return cmd.Process.Pid, end
	}
	target, _ := start()
	_, endEarly := start()
	child, _ := start()
	other, endOther := start()
	r.Close()
	w.Close()
	o := lookOutside(idsOf(t, target))
	endEarly()
	o.settle([]*process{{pid: target}, {pid: child}}, idsOf(t, target))
	if got, want := o.name("pipe", st.Ino), proc.Named(other); got != want {
		t.Errorf("the pipe is open in %q, it is said, and not in %q", got, want)
	}
	endOther()
	if got := o.name("pipe", st.Ino); got != "" {
		t.Errorf("the pipe is open in %q, it is said, and in no other process", got)
	}
}

func mappings(t *testing.T, pid int) [][]proc.Mapping {
	t.Helper()
	list, err := proc.ReadMaps(pid)
	if err != nil {
		t.Fatal(err)
	}
	return [][]proc.Mapping{list}
}

func idsOf(t *testing.T, pid int) *ids {
	t.Helper()
	ids, err := newIDs(pid, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

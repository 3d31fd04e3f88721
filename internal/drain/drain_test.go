package drain

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/sys"
)

// makerVar makes the test's program one that traces a process and reads a queue until it is killed.
const makerVar = "CKPT_DRAIN_TEST"

func TestMain(m *testing.M) {
	if os.Args[0] == GuardName {
		os.Exit(Guard(os.Args))
	}
	if said := os.Getenv(makerVar); said != "" {
		if err := maker(strings.Split(said, " ")); err != nil {
			fmt.Println(err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

var texts = []struct {
	prio uint32
	text string
}{{9, "first"}, {9, ""}, {9, "third"}, {4, strings.Repeat("x", 100)}, {4, "y"}, {0, "last"}, {0, ""}}

// newQueue makes a queue with all texts.
func newQueue(t *testing.T) *os.File {
	t.Helper()
	name := fmt.Sprintf("ckpt-drain-%d-%d", os.Getpid(), rand.Uint64())
	f, err := sys.OpenMQueue(name, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CREAT|unix.O_EXCL, 0o600, &sys.MQAttr{MaxMessages: 10, MessageBytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(); _ = sys.UnlinkMQueue(name) })
	fill(t, int(f.Fd()))
	return f
}

func fill(t *testing.T, fd int) {
	t.Helper()
	for i := len(texts) - 1; i >= 0; i-- { // of one priority in their order
		for j := range texts {
			if texts[j].prio == texts[i].prio && (i == 0 || texts[i-1].prio != texts[i].prio) {
				if err := sys.SendMQ(fd, []byte(texts[j].text), texts[j].prio); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// compare receives all messages.
func compare(t *testing.T, fd int) {
	t.Helper()
	buf := make([]byte, 100)
	for i, want := range texts {
		var prio uint32
		n, err := sys.ReceiveMQ(fd, buf, &prio)
		if err != nil || string(buf[:n]) != want.text || prio != want.prio {
			t.Fatalf("message %d: %q with %d, %v", i, buf[:n], prio, err)
		}
	}
	var prio uint32
	if n, err := sys.ReceiveMQ(fd, buf, &prio); err == nil {
		t.Fatalf("one more: %q", buf[:n])
	}
}

func queueOf(t *testing.T, fd int) Queue {
	t.Helper()
	s, err := ReadState(fd)
	if err != nil || s.Notify != 0 {
		t.Fatal(s, err)
	}
	return Queue{FD: fd, Messages: len(texts), MaxBytes: 100, Bytes: s.Bytes}
}

func TestRead(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	a, b := newQueue(t), newQueue(t)
	all, close, err := Read([]Queue{queueOf(t, int(a.Fd())), queueOf(t, int(b.Fd()))})
	if err != nil {
		t.Fatal(err)
	}
	for _, messages := range all {
		for i, m := range messages {
			if m.Prio != texts[i].prio || string(m.Text) != texts[i].text {
				t.Errorf("message %d: %q with %d", i, m.Text, m.Prio)
			}
		}
	}
	if err := close(); err != nil {
		t.Error(err)
	}
	compare(t, int(a.Fd()))
	compare(t, int(b.Fd()))
}

// TestResume: wherever one stops, another can go on.
func TestResume(t *testing.T) {
	for taken := 0; taken <= len(texts); taken++ {
		for _, noted := range []bool{true, false} {
			f := newQueue(t)
			q := queueOf(t, int(f.Fd()))
			mem := make([]byte, memoryBytes([]Queue{q}))
			r := prepare(mem, []Queue{q})[0]
			at := 0
			for i := range taken {
				n, err := sys.ReceiveMQ(q.FD, r.texts()[at:at+100], r.prio(i))
				if err != nil {
					t.Fatal(err)
				}
				if at += n; noted || i < taken-1 {
					*r.length(i) = uint32(n)
				}
			}
			if err := rooms(mem, q.FD, 1)[0].run(); err != nil {
				t.Fatalf("%d taken: %v", taken, err)
			}
			compare(t, q.FD)
		}
	}
	for put := 0; put <= len(texts); put++ {
		f := newQueue(t)
		q := queueOf(t, int(f.Fd()))
		mem := make([]byte, memoryBytes([]Queue{q}))
		r := prepare(mem, []Queue{q})[0]
		if err := r.receive(); err != nil {
			t.Fatal(err)
		}
		*r.phase() = sending
		for _, m := range r.messages()[:put] {
			if err := sys.SendMQ(q.FD, m.Text, m.Prio); err != nil {
				t.Fatal(err)
			}
		}
		if err := rooms(mem, q.FD, 1)[0].run(); err != nil {
			t.Fatalf("%d put back: %v", put, err)
		}
		compare(t, q.FD)
	}
}

// maker traces a process, and reads the queue that is its descriptor 3.
func maker(args []string) error {
	runtime.LockOSThread()
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	if err := unix.PtraceSeize(pid); err != nil {
		return err
	}
	if err := unix.PtraceInterrupt(pid); err != nil {
		return err
	}
	if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != nil {
		return err
	}
	s, err := ReadState(3)
	if err != nil {
		return err
	}
	between = func() { time.Sleep(time.Millisecond) }
	fmt.Println("begins")
	for {
		_, close, err := Read([]Queue{{FD: 3, Messages: len(texts), MaxBytes: 100, Bytes: s.Bytes}})
		if err != nil {
			return err
		}
		if err := close(); err != nil {
			return err
		}
	}
}

// TestKilled kills who reads a queue, or its guard, at random moments. When the target runs again,
// all messages are there.
func TestKilled(t *testing.T) {
	inTheMiddle := 0
	defer func() { t.Logf("%d times in the middle", inTheMiddle) }()
	for i := range 30 {
		target := exec.Command("sleep", "1000")
		if err := target.Start(); err != nil {
			t.Fatal(err)
		}
		f := newQueue(t)
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", makerVar, target.Process.Pid))
		cmd.ExtraFiles = []*os.File{f}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		begins := make([]byte, 100)
		if n, err := out.Read(begins); err != nil || string(begins[:n]) != "begins\n" {
			t.Fatalf("%q, %v", begins[:n], err)
		}
		if i%3 == 2 { // the guard
			for !killGuards(cmd.Process.Pid) {
				time.Sleep(time.Millisecond)
			}
		}
		time.Sleep(time.Duration(rand.Int64N(int64(30 * time.Millisecond))))
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if n, err := sys.GetMQAttr(int(f.Fd())); err != nil {
			t.Fatal(err)
		} else if n.Messages < int64(len(texts)) {
			inTheMiddle++
		}
		for traced(t, target.Process.Pid) {
			time.Sleep(time.Millisecond)
		}
		compare(t, int(f.Fd()))
		_ = cmd.Wait()
		_ = target.Process.Kill()
		_ = target.Wait()
	}
}

// killGuards kills the guards of a process, and reports whether there was one.
func killGuards(pid int) (any bool) {
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, e := range tasks {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, e.Name()))
		for _, word := range strings.Fields(string(children)) {
			child, _ := strconv.Atoi(word)
			any = unix.Kill(child, unix.SIGKILL) == nil || any
		}
	}
	return any
}

func traced(t *testing.T, pid int) bool {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	return !strings.Contains(string(b), "TracerPid:\t0\n")
}

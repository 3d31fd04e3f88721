package repair

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/nft"
	"ckpt/internal/testkit"
)

func TestMain(m *testing.M) {
	if os.Args[0] == GuardName {
		os.Exit(Guard())
	}
	if how := os.Getenv(makerEnv); how != "" {
		if err := beMaker(how); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// The test binary, run with this, is the maker of a guard: it has a socket of the target,
// which is not it, as descriptor 3, and dies.
const makerEnv = "CKPT_TEST_MAKER"

func beMaker(how string) error {
	const fd = 3
	flow, err := flowOf(fd)
	if err != nil {
		return err
	}
	k, err := Start([]nft.Flow{flow})
	if err != nil {
		return err
	}
	err = k.Reading(func() error {
		if how == "reading" { // and dead before there is an answer
			return errors.Join(k.say([]byte{sayRead}, fd), unix.Kill(os.Getpid(), unix.SIGKILL))
		}
		_, err := k.Read(fd)
		return err
	})
	if err != nil {
		return err
	}
	pid, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "1000"}, nil)
	err = errors.Join(err, k.Arm(pid, &Hold{"ckpt-lasting", "of a test", time.Hour}))
	if how == "target dead" {
		err = errors.Join(err, unix.Kill(pid, unix.SIGKILL))
	} else {
		fmt.Println(pid)
	}
	if err != nil {
		return err
	}
	return unix.Kill(os.Getpid(), unix.SIGKILL)
}

// TestGoesOn: after it was read, a connection goes on as if nothing had been.
func TestGoesOn(t *testing.T) {
	for _, end := range []string{"closed", "guard killed"} {
		t.Run(end, func(t *testing.T) {
			testkit.InNetwork(t)
			c := newTarget(t, "127.0.0.1:0")
			if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
				t.Fatal(err)
			}
			c.peerWrites("unread")
			c.arrived(6)
			k := start(t, c)
			c.write("unsent")
			c.peerWrites("later")
			s, err := read(k, c.dup())
			if err != nil {
				t.Fatal(err)
			}
			if string(s.Recv) != "unread" || string(s.Send) != "unsent" || s.Sent+s.Unsent != 6 {
				t.Errorf("%q %q %+v", s.Recv, s.Send, s.TCPRepair)
			}
			if reuse, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR); Is(c.fd) || reuse != 1 {
				t.Errorf("in repair: %v, SO_REUSEADDR is %d (%v)", Is(c.fd), reuse, err)
			}
			if end != "closed" {
				pid := guardOf(t)
				if err := unix.Kill(pid, unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
				<-k.Over()
				if _, err := read(k, c.dup()); !errors.Is(err, ErrGuard) {
					t.Errorf("without a guard: %v", err)
				}
				if err := k.Arm(os.Getpid(), &Hold{}); !errors.Is(err, ErrGuard) {
					t.Errorf("without a guard: %v", err)
				}
			}
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
			c.peerReads("unsent")
			c.reads("unreadlater")
		})
	}
}

// guardOf returns the process id of our guard.
func guardOf(t *testing.T) int {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		dirs, _ := os.ReadDir("/proc")
		for _, d := range dirs {
			b, _ := os.ReadFile("/proc/" + d.Name() + "/stat")
			var pid, ppid int
			var comm, state string
			if n, _ := fmt.Sscan(string(b), &pid, &comm, &state, &ppid); n == 4 && ppid == os.Getpid() && comm == "("+GuardName+")" {
				return pid
			}
		}
	}
	t.Fatal("there is no guard")
	return 0
}

// TestAgain: what was read is made again, with both queues, and the other side notices
// nothing.
func TestAgain(t *testing.T) {
	for _, c := range []struct {
		name, at string
		change   func(c *target)
	}{
		{"idle", "127.0.0.1:0", func(*target) {}},
		{"IPv6", "[::1]:0", func(*target) {}},
		{"peer ended", "127.0.0.1:0", func(c *target) {
			_ = c.peer.(*net.TCPConn).CloseWrite()
			p := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLRDHUP}}
			_, _ = unix.Poll(p, 60000)
		}},
		{"ended", "127.0.0.1:0", func(c *target) { _ = unix.Shutdown(c.fd, unix.SHUT_WR) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			testkit.InNetwork(t)
			x := newTarget(t, c.at)
			x.write("answered")
			x.peerReads("answered")
			x.peerWrites("unread")
			x.arrived(6)
			c.change(x)
			again(t, x, c.name)
		})
	}
}

func again(t *testing.T, x *target, name string) {
	t.Helper()
	k := start(t, x)
	if name != "ended" {
		x.write("on its way")
	}
	if name != "peer ended" {
		x.peerWrites("while away")
	}
	s, err := read(k, x.dup())
	if err != nil {
		t.Fatal(err)
	}
	h := &Hold{"ckpt-lasting", "of a test", time.Hour}
	cmd, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "1000"}, nil) // somebody to die
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(k.Arm(cmd, h), unix.Kill(cmd, unix.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	_, _ = unix.Wait4(cmd, nil, 0, nil)
	if n, err := k.Bury(h); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if x.connected() {
		t.Error("the connection is not ended")
	}
	unix.Close(x.fd)
	x.remake(s, name)
	tables, err := nft.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer tables.Close()
	if flows, ok, err := tables.Held("ckpt-lasting"); !ok || err != nil || len(flows) != 1 || flows[0] != x.flow {
		t.Errorf("held are %v: %v %v", flows, ok, err)
	}
	if err := errors.Join(Off(x.fd, 0), tables.Delete("ckpt-lasting")); err != nil {
		t.Fatal(err)
	}
	x.reads("unread")
	if name != "peer ended" {
		x.reads("while away")
		x.peerWrites("and more")
		x.reads("and more")
	}
	if name != "ended" {
		x.write(", and more")
		x.peerReads("on its way, and more")
	}
	unix.Close(x.fd)
}

// TestMakerDies: the guard leaves the socket of a living target as it was, and does for one
// that is dead what was to be done.
func TestMakerDies(t *testing.T) {
	for _, how := range []string{"reading", "target lives", "target dead"} {
		t.Run(how, func(t *testing.T) {
			testkit.InNetwork(t)
			c := newTarget(t, "127.0.0.1:0")
			if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{makerEnv + "=" + how}
			cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(c.dup()), "socket")}
			out, _ := cmd.Output()
			cmd.ExtraFiles[0].Close()
			if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() {
				t.Fatalf("it says: %s", out)
			}
			if pid, err := strconv.Atoi(strings.TrimSpace(string(out))); err == nil {
				defer unix.Kill(pid, unix.SIGKILL)
			}
			tables, err := nft.Dial()
			if err != nil {
				t.Fatal(err)
			}
			defer tables.Close()
			if how == "target dead" {
				soon(t, "it is not held", func() bool { flows, _, _ := tables.Held("ckpt-lasting"); return len(flows) == 1 && !c.connected() })
				return
			}
			c.peerWrites("from there")
			c.write("from here")
			c.reads("from there") // it is let through when the guard has ended
			c.peerReads("from here")
			if reuse, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR); Is(c.fd) || reuse != 1 {
				t.Errorf("in repair: %v, SO_REUSEADDR is %d (%v)", Is(c.fd), reuse, err)
			}
			if _, there, err := tables.Held("ckpt-lasting"); there || err != nil {
				t.Errorf("the lasting table is there: %v", err)
			}
		})
	}
}

// TestCheckTables: a guard changes no tables but ours.
func TestCheckTables(t *testing.T) {
	good := lasting{Own: "ckpt-hold-1", Table: "ckpt-2", TimeoutNS: 1}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	for _, change := range []func(*lasting){
		func(l *lasting) { l.Own = "filter" }, func(l *lasting) { l.Own = "ckpt-2" }, func(l *lasting) { l.Table = "filter" },
		func(l *lasting) { l.TimeoutNS = 0 }, func(l *lasting) { l.Comment = strings.Repeat("x", 300) },
	} {
		l := good
		if change(&l); l.check() == nil {
			t.Errorf("%+v passes", l)
		}
	}
}

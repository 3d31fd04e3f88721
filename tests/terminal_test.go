package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// pty is a pseudoterminal; what is written to its slave is gathered.
type pty struct {
	t             *testing.T
	master, slave *os.File
	mu            sync.Mutex
	text          strings.Builder
}

func openPTY(t *testing.T) *pty {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	p := &pty{t: t, master: master, slave: slave}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			p.mu.Lock()
			p.text.Write(buf[:n])
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return p
}

// run starts a program whose controlling terminal this is.
func (p *pty) run(name string, args ...string) (*exec.Cmd, chan struct{}) {
	p.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.slave, p.slave, p.slave
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	p.t.Cleanup(func() { _ = cmd.Process.Kill(); <-done })
	return cmd, done
}

func (p *pty) shows(want string) {
	p.t.Helper()
	for range 500 {
		p.mu.Lock()
		text := p.text.String()
		p.mu.Unlock()
		if strings.Contains(text, want) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatalf("the terminal does not show %q but:\n%s", want, p.text.String())
}

func (p *pty) types(text string) {
	p.t.Helper()
	if _, err := p.master.WriteString(text); err != nil {
		p.t.Fatal(err)
	}
}

// inForeground waits until a process is the terminal's foreground job.
func (p *pty) inForeground(pid int) {
	p.t.Helper()
	group, err := unix.Getpgid(pid)
	if err != nil {
		p.t.Fatal(err)
	}
	for range 1000 {
		if now, err := unix.IoctlGetInt(int(p.master.Fd()), unix.TIOCGPGRP); err == nil && now == group {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatalf("pid %d is not in the foreground", pid)
}

// eventually waits until a process is in one of these states.
func eventually(t *testing.T, pid int, states string) {
	t.Helper()
	var last byte
	for range 500 {
		stat, err := proc.ReadStat(pid)
		if err == nil && strings.IndexByte(states, stat.State) >= 0 {
			return
		}
		last = stat.State
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("pid %d is in state %c, not in one of %s", pid, last, states)
}

// TestTerminal moves a program from one terminal to another, where it is the
// foreground job: it reads what is typed, has its settings, redraws itself in the new
// size, and ^Z stops it together with ckpt-apply.
func TestTerminal(t *testing.T) {
	for _, pids := range []string{"keep", "namespace"} {
		t.Run(pids, func(t *testing.T) { moveTerminal(t, pids) })
	}
}

func moveTerminal(t *testing.T, pids string) {
	first, second := openPTY(t), openPTY(t)
	target, ended := first.run(buildC(t, "c/tty.c"))
	pid := target.Process.Pid
	first.shows("ready")
	img := filepath.Join(t.TempDir(), "img")
	if status, said := runPipeline(t, nil, nil, fmt.Sprintf("ckpt-collect --leave killed %d", pid), "ckpt-dedup", "ckpt-write -o "+img); status[0]+status[1]+status[2] != 0 {
		t.Fatalf("exit statuses %v\n%s", status, said)
	}
	<-ended

	if err := unix.IoctlSetWinsize(int(second.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 91, Row: 37}); err != nil {
		t.Fatal(err)
	}
	shell, done := second.run("bash", "-c", "ckpt-read < "+img+" | ckpt-apply --pids "+pids+"; echo status $?")
	if pids == "namespace" {
		pid = inNamespace(t, pid)
	}
	eventually(t, pid, "SR")
	second.shows("drawn 91x37")
	second.types("\x1a")
	eventually(t, pid, "T")
	apply := childNamed(t, shell.Process.Pid, "ckpt-apply")
	eventually(t, apply, "T")
	if err := unix.Kill(apply, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, pid, "SR")
	second.inForeground(pid)
	second.types("hello\n")
	second.shows("got hello\r\npass")
	second.shows("status 0")
	<-done
}

// inNamespace waits until a process of another pid namespace has this id there, and returns
// the one it has here.
func inNamespace(t *testing.T, there int) (here int) {
	t.Helper()
	for range 1000 {
		all, err := proc.Processes()
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range all {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if strings.Contains(string(b), fmt.Sprintf("\nNSpid:\t%d\t%d\n", pid, there)) {
				return pid
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("no other pid namespace has a process %d", there)
	return 0
}

func childNamed(t *testing.T, parent int, name string) int {
	t.Helper()
	children, err := proc.Children(parent)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range children {
		if comm, _ := proc.ReadComm(c, c); comm == name {
			return c
		}
	}
	t.Fatalf("pid %d has no child %s", parent, name)
	return 0
}

// TestCopiedPages saves through a filter that takes no hold, so that pages are
// copied, while the target runs on and changes them, and restores from a file that is
// no image.
func TestCopiedPages(t *testing.T) {
	want := expected(t)
	dir := t.TempDir()
	w := startWorker(t, dir)
	w.works()
	file, err := os.Create(filepath.Join(dir, "stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if status, said := runPipeline(t, nil, file, fmt.Sprintf("ckpt-collect %d", w.pid()), "ckpt-dedup", "cat"); status[0]+status[1] != 0 {
		t.Fatalf("exit statuses %v\n%s", status, said)
	}
	if err := unharmed(w.pid()); err != nil {
		t.Fatal(err)
	}
	w.works()
	_ = unix.Kill(w.pid(), unix.SIGKILL)
	<-w.done
	in, err := os.Open(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if status, said := runPipeline(t, in, nil, "ckpt-apply --files truncate"); status[0] != 0 {
		t.Fatalf("exit status %v\n%s", status, said)
	}
	if got := w.result(); got != want {
		t.Errorf("the output is wrong:\n%s", got)
	}
}

package tests

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// asNobody starts a command as a user without capabilities.
var asNobody = []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}

func nobodysEcho(t *testing.T) *echo {
	t.Helper()
	return startEchoBy(t, false, append(asNobody, buildC(t, "kept.c"), strconv.Itoa(echoPort))...)
}

// refuses runs a shell line, which must be refused in one sentence, the target being left
// as it is.
func (e *echo) refuses(status int, line, says string) {
	e.t.Helper()
	cmd := exec.Command("bash", "-c", line)
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != status || strings.Count(string(out), "error: ") != 1 || !strings.Contains(string(out), says) {
		e.t.Errorf("%s: status %d:\n%s", line, got, out)
	}
}

// TestKeptTrust: connections of a program that lacks CAP_NET_ADMIN are kept only if its user
// is trusted. Even he gets no socket in repair out of a restore.
func TestKeptTrust(t *testing.T) {
	t.Parallel()
	e := nobodysEcho(t)
	const says = "(test-kept) has no CAP_NET_ADMIN, and its user could use that of ckpt-collect"
	e.refuses(3, fmt.Sprintf("ckpt-collect --dry-run --tcp keep %d", e.pid), says)
	e.refuses(3, fmt.Sprintf("ckpt-collect --tcp keep --leave killed %d | cat >/dev/null; exit ${PIPESTATUS[0]}", e.pid), says)
	if err := unharmed(e.pid); err != nil {
		t.Fatal(err)
	}
	e.unheld()
	e.save("--tcp-trust")
	e.progress()
	for range 5 {
		e.kill("--tcp-trust")
		thief := exec.Command(asNobody[0], append(asNobody[1:], buildC(t, "thief.c"), strconv.Itoa(e.pid))...)
		out, err := thief.StdoutPipe()
		if err == nil {
			err = thief.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadFull(out, make([]byte, 6))
		e.restore()
		e.progress()
		_ = thief.Process.Signal(unix.SIGTERM)
		if werr := thief.Wait(); err != nil || werr != nil {
			t.Fatalf("the thief: %v %v", err, werr)
		}
	}
	e.unheld()
	e.ends()
}

// TestKeptShared: a connection that a process outside has, too, is not kept.
func TestKeptShared(t *testing.T) {
	t.Parallel()
	e := startEchoBy(t, false, buildC(t, "kept.c"), strconv.Itoa(echoPort), "shared")
	children, err := proc.Children(e.pid)
	if err != nil || len(children) != 1 {
		t.Fatal(children, err)
	}
	defer func() { _ = unix.Kill(children[0], unix.SIGKILL) }()
	says := fmt.Sprintf("which can't be kept: pid %d (test-kept), which is not being saved, has it, too", e.pid)
	for _, option := range []string{"--dry-run", "--leave running", "--leave killed"} {
		e.refuses(3, fmt.Sprintf("ckpt-collect --tcp keep %s %d | cat >/dev/null; exit ${PIPESTATUS[0]}", option, children[0]), says)
		if err := unharmed(children[0]); err != nil {
			t.Error(err)
		}
		e.progress()
	}
	e.unheld()
}

// TestKeptFileCapabilities: who has CAP_NET_ADMIN only because the file of a program gives it
// to everybody can neither keep connections, nor restore any, nor start a guard.
func TestKeptFileCapabilities(t *testing.T) {
	t.Parallel()
	e := nobodysEcho(t)
	bin := t.TempDir()
	for dir := bin; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"ckpt-collect", "ckpt-apply"} {
		shell(t, fmt.Sprintf("cp %s/%s %s/ && setcap cap_checkpoint_restore,cap_net_admin,cap_sys_ptrace+ep %[3]s/%[2]s", binDir, name, bin))
	}
	nobody := strings.Join(asNobody, " ") + " "
	e.refuses(3, fmt.Sprintf("%s%s/ckpt-collect --dry-run --tcp keep --tcp-trust %d", nobody, bin, e.pid), "and so by everybody who starts it")
	guard := exec.Command("bash", "-c", fmt.Sprintf("exec %sbash -c 'exec -a ckpt-guard %s/ckpt-collect </dev/null'", nobody, bin))
	if out, _ := guard.CombinedOutput(); guard.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "does not do this for everybody") {
		t.Errorf("a guard: %v\n%s", guard.ProcessState, out)
	}
	e.kill("--tcp-trust")
	e.refuses(125, fmt.Sprintf("ckpt-read < %s | %s%s/ckpt-apply --check", e.img, nobody, bin), "and so by everybody who starts it")
	e.restore()
	e.progress()
	e.ends()
}

// TestKeptApplyFaults kills ckpt-apply at random moments. Either the program lives then, and
// so does its connection, or it can be restored again.
func TestKeptApplyFaults(t *testing.T) {
	t.Parallel()
	e := startEcho(t, false)
	e.kill("")
	lived := 0
	const times = 30
	for range times {
		in, err := os.Open(e.img)
		if err != nil {
			t.Fatal(err)
		}
		p := startPipeline(t, in, nil, "ckpt-read", "ckpt-apply --detach")
		moment(e.rng, 0, 150*time.Millisecond)
		_ = p.cmds[1].Process.Kill()
		status := p.wait()
		in.Close()
		held := strings.HasPrefix(e.tables()[0], "table inet ckpt-")
		if status[1] != 0 && (goneSoon(e.pid) || held && e.goneAtLast()) {
			if !held {
				t.Fatalf("neither the program is there, nor what holds its connection; exit statuses %v\n%s", status, p.said())
			}
			continue
		}
		lived++
		if held { // killed in the instant between the two
			shell(t, "nft delete "+e.tables()[0])
		}
		e.progress()
		e.kill("")
	}
	e.restore()
	e.unheld()
	e.progress()
	e.ends()
	t.Logf("killed %d times, after which the program lived %d times", times, lived)
}

// goneAtLast waits longer for the end of a program that is held, and so does not run.
func (e *echo) goneAtLast() bool {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if gone(e.pid) {
			return true
		}
	}
	return false
}

// TestKeptNamespace: a connection goes on in a pid namespace of the program's own.
func TestKeptNamespace(t *testing.T) {
	t.Parallel()
	e := startEcho(t, false)
	e.kill("")
	if status, said := e.apply("--pids namespace"); status[0]+status[1] != 0 {
		t.Fatalf("exit statuses %v\n%s", status, said)
	}
	e.progress()
	e.unheld()
	e.ends()
}

// talks are connections to a target that sends back what it gets.
type talks struct {
	t      *testing.T
	conns  []net.Conn
	rounds []atomic.Int64
	end    chan error
}

func startTalks(t *testing.T, n int) *talks {
	t.Helper()
	m := &talks{t: t, conns: make([]net.Conn, n), rounds: make([]atomic.Int64, n), end: make(chan error, n)}
	for i := range m.conns {
		for range 600 {
			c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(echoPort)))
			if err == nil {
				m.conns[i] = c
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if m.conns[i] == nil {
			t.Fatal("it does not listen")
		}
		t.Cleanup(func() { m.conns[i].Close() })
	}
	for i := range m.conns {
		go func() { m.end <- m.talk(i) }()
	}
	return m
}

// talk sends something and compares what comes back, until the other side ends it.
func (m *talks) talk(i int) error {
	out, in := make([]byte, 3000), make([]byte, 3000)
	for round := int64(0); ; round++ {
		for k := range out {
			out[k] = echoByte(round*3001 + int64(k) + int64(i))
		}
		if _, err := m.conns[i].Write(out); err != nil {
			return err
		}
		if _, err := io.ReadFull(m.conns[i], in); err != nil {
			return err
		}
		if !bytes.Equal(in, out) {
			return fmt.Errorf("connection %d: other bytes come back in round %d", i, round)
		}
		m.rounds[i].Add(1)
	}
}

// progress waits until something came back on each connection.
func (m *talks) progress() {
	m.t.Helper()
	for i := range m.rounds {
		now := m.rounds[i].Load()
		for end := time.Now().Add(keptPatience); m.rounds[i].Load() < now+2; time.Sleep(time.Millisecond) {
			select {
			case err := <-m.end:
				m.t.Fatalf("a connection ends: %v", err)
			default:
			}
			if time.Now().After(end) {
				m.t.Fatalf("connection %d does not go on", i)
			}
		}
	}
}

// TestKeptBusy kills ckpt-collect at random moments while it reads the connections of a
// program that uses them without a rest. None of its calls fails, and no byte is lost.
func TestKeptBusy(t *testing.T) {
	t.Parallel()
	network(t)
	const conns, times = 32, 60
	cmd := exec.Command(buildC(t, "kept_many.c"), strconv.Itoa(echoPort), strconv.Itoa(conns))
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	defer func() { _ = cmd.Process.Kill(); <-done }()
	m, rng := startTalks(t, conns), random(t)
	m.progress()
	caught := 0
	for range times {
		p := startPipeline(t, nil, nil, fmt.Sprintf("ckpt-collect --tcp keep %d", cmd.Process.Pid), "cat")
		moment(rng, 0, 60*time.Millisecond)
		_ = p.cmds[0].Process.Kill()
		if p.wait()[0] == -1 {
			caught++
		}
		select {
		case <-done:
			t.Fatalf("the program has ended: %v (%v)", cmd.ProcessState, unix.Errno(cmd.ProcessState.ExitCode()))
		default:
		}
		m.progress()
	}
	if caught == 0 {
		t.Error("ckpt-collect was never caught at work")
	}
	t.Logf("killed at work %d times", caught)
}

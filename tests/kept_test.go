package tests

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// keptPatience is how long a connection may take to get over a pause: the other side tries
// again after a time that doubles each time, up to two minutes.
const keptPatience = 4 * time.Minute

// network puts the test, and all that it starts, into a network of its own with a loopback
// interface.
func network(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread is of no use to others
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	shell(t, "ip link set lo up")
}

func shell(t *testing.T, line string) string {
	t.Helper()
	out, err := exec.Command("bash", "-c", "set -o pipefail; "+line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// echo is a target, and a connection to it from outside on which bytes come and go.
type echo struct {
	t         *testing.T
	img       string
	pid       int
	conn      *net.TCPConn
	sent, got atomic.Int64
	stop      atomic.Bool
	end       chan error // what ended the connection
	rng       *rand.Rand
}

const echoPort = 7000

// startEcho starts both. far: the other side is in another network, at the end of a wire.
func startEcho(t *testing.T, far bool) *echo {
	t.Helper()
	return startEchoBy(t, far, buildC(t, "kept.c"), strconv.Itoa(echoPort))
}

// startEchoBy starts both, the target by this command.
func startEchoBy(t *testing.T, far bool, command ...string) *echo {
	t.Helper()
	network(t)
	e := &echo{t: t, img: filepath.Join(t.TempDir(), "img"), end: make(chan error, 2), rng: random(t)}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	e.pid = cmd.Process.Pid
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	t.Cleanup(func() { _ = unix.Kill(e.pid, unix.SIGKILL); <-done })
	e.connect(far)
	go func() { e.end <- e.writes() }()
	go func() { e.end <- e.reads() }()
	t.Cleanup(func() { e.conn.Close() })
	e.progress()
	return e
}

func (e *echo) connect(far bool) {
	e.t.Helper()
	var err error
	dial := func(at string) {
		for range 600 {
			var c net.Conn
			if c, err = net.Dial("tcp", net.JoinHostPort(at, strconv.Itoa(echoPort))); err == nil {
				e.conn = c.(*net.TCPConn)
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	if !far {
		dial("127.0.0.1")
	} else {
		shell(e.t, "ip link add near type veth peer name far && ip addr add 10.77.0.1/24 dev near && ip link set near up")
		there, moved, dialed := make(chan int), make(chan struct{}), make(chan struct{})
		go func() {
			runtime.LockOSThread()
			err = unix.Unshare(unix.CLONE_NEWNET)
			there <- unix.Gettid()
			<-moved
			if err == nil {
				_, err = exec.Command("bash", "-c", "ip addr add 10.77.0.2/24 dev far && ip link set far up").Output()
			}
			if err == nil {
				dial("10.77.0.1")
			}
			close(dialed)
		}()
		shell(e.t, fmt.Sprintf("ip link set far netns %d", <-there))
		close(moved)
		<-dialed
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

func echoByte(i int64) byte { return byte(i*7 + i/251) }

// writes sends bytes until told to stop.
func (e *echo) writes() error {
	rng := rand.New(rand.NewPCG(e.rng.Uint64(), 1))
	buf := make([]byte, 8000)
	for !e.stop.Load() {
		b := buf[:1+rng.IntN(len(buf))]
		for i := range b {
			b[i] = echoByte(e.sent.Load() + int64(i))
		}
		n, err := e.conn.Write(b)
		e.sent.Add(int64(n))
		if err != nil {
			return err
		}
		time.Sleep(time.Duration(rng.IntN(2000)) * time.Microsecond)
	}
	return e.conn.CloseWrite()
}

// reads compares what comes back.
func (e *echo) reads() error {
	buf := make([]byte, 10000)
	for {
		n, err := e.conn.Read(buf)
		for i, c := range buf[:n] {
			if at := e.got.Load() + int64(i); c != echoByte(at) {
				return fmt.Errorf("byte %d is wrong", at)
			}
		}
		e.got.Add(int64(n))
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// progress waits until all that was sent so far has come back.
func (e *echo) progress() {
	e.t.Helper()
	want := max(e.sent.Load(), 1)
	for end := time.Now().Add(keptPatience); e.got.Load() < want; time.Sleep(2 * time.Millisecond) {
		select {
		case err := <-e.end:
			e.t.Fatalf("the connection ends after %d bytes: %v", e.got.Load(), err)
		default:
		}
		if time.Now().After(end) {
			e.t.Fatalf("of %d bytes sent only %d have come back", e.sent.Load(), e.got.Load())
		}
	}
}

// tables are those that hold connections.
func (e *echo) tables() []string {
	return strings.Split(strings.TrimSpace(shell(e.t, "nft list tables")), "\n")
}

// unheld waits until nothing is left of a checkpoint. Who was killed takes a moment to go.
func (e *echo) unheld() {
	e.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		left := shell(e.t, "nft list ruleset") + guards()
		if left == "" {
			return
		}
		if time.Now().After(end) {
			e.t.Fatalf("left behind:\n%s", left)
		}
	}
}

// guards lists the guards in this network namespace.
func guards() (left string) {
	ours, _ := os.Readlink("/proc/thread-self/ns/net")
	for line := range strings.Lines(pgrep("^ckpt-guard")) {
		pid := strings.Fields(line)[0]
		if its, err := os.Readlink("/proc/" + pid + "/ns/net"); err == nil && its == ours {
			left += line
		}
	}
	return left
}

func (e *echo) save(options string) {
	e.t.Helper()
	status, said := runPipeline(e.t, nil, nil, fmt.Sprintf("ckpt-collect --tcp keep %s %d", options, e.pid), "ckpt-dedup", "ckpt-write -o "+e.img)
	if status[0]+status[1]+status[2] != 0 {
		e.t.Fatalf("exit statuses %v\n%s", status, said)
	}
}

func (e *echo) kill(options string) {
	e.t.Helper()
	e.save("--leave killed " + options)
	if !goneSoon(e.pid) {
		e.t.Fatal("it was not killed")
	}
	if held := shell(e.t, "nft list ruleset"); strings.Count(held, "table inet ckpt-") != 1 || strings.Count(held, "timeout") < 2 || !strings.Contains(held, "ckpt-apply restores them") {
		e.t.Fatalf("it is not held:\n%s", held)
	}
}

func (e *echo) restore() {
	e.t.Helper()
	if status, said := e.apply(""); status[0]+status[1] != 0 {
		e.t.Fatalf("exit statuses %v\n%s", status, said)
	}
}

func (e *echo) apply(options string) ([]int, string) {
	e.t.Helper()
	in, err := os.Open(e.img)
	if err != nil {
		e.t.Fatal(err)
	}
	defer in.Close()
	return runPipeline(e.t, in, nil, "ckpt-read", "ckpt-apply --detach "+options)
}

// ends ends the connection, which must have carried each byte once.
func (e *echo) ends() {
	e.t.Helper()
	e.stop.Store(true)
	for range 2 {
		select {
		case err := <-e.end:
			if err != nil {
				e.t.Fatal(err)
			}
		case <-time.After(keptPatience):
			e.t.Fatal("it does not end")
		}
	}
	if e.got.Load() != e.sent.Load() {
		e.t.Errorf("%d bytes were sent and %d came back", e.sent.Load(), e.got.Load())
	}
}

// TestKept: a connection in which bytes come and go in both directions survives saves
// that leave the program running, its being killed and restored, twice, and a restore that
// fails. Nothing is left of all that on the system.
func TestKept(t *testing.T) {
	t.Parallel()
	for name, far := range map[string]bool{"loopback": false, "far": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := startEcho(t, far)
			for range 4 {
				e.save("--leave running")
				e.unheld()
				e.progress()
			}
			for range 2 {
				e.kill("")
				in, err := os.Open(e.img)
				if err != nil {
					t.Fatal(err)
				}
				status, said := runPipeline(t, in, nil, "ckpt-read", "head -c 60000", "ckpt-apply --detach")
				in.Close()
				if status[2] != 125 || !goneSoon(e.pid) || len(e.tables()) != 1 || !strings.HasPrefix(e.tables()[0], "table inet ckpt-") {
					t.Fatalf("of half a stream: %v\n%s%v", status, said, e.tables())
				}
				e.restore()
				e.unheld()
				e.progress()
			}
			e.ends()
		})
	}
}

// TestKeptTooLate: when the time is over, the other side is told, and so is the program
// that is restored.
func TestKeptTooLate(t *testing.T) {
	t.Parallel()
	e := startEcho(t, false)
	e.kill("--tcp-hold 300ms")
	var err error
	select {
	case err = <-e.end:
	case <-time.After(keptPatience):
	}
	if !errors.Is(err, unix.ECONNRESET) {
		t.Fatalf("the connection ends with: %v", err)
	}
	in, err := os.Open(e.img)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if status, said := runPipeline(t, in, nil, "ckpt-read", "ckpt-apply"); status[1] != 3 || !strings.Contains(said, "nothing holds the packets of these connections any more") {
		t.Errorf("exit statuses %v\n%s", status, said)
	}
	e.unheld()
}

// TestKeptFaults kills the filters and the guard at random moments. The program that lives
// has its connection as before, and one that was killed has it when it is restored.
func TestKeptFaults(t *testing.T) {
	t.Parallel()
	e := startEcho(t, false)
	caught := map[string]int{}
	const times = 32
	for i := range times {
		victim := []string{"ckpt-collect", "ckpt-guard", "ckpt-dedup", "ckpt-write"}[i%4]
		leave := []string{"killed", "running"}[i/4%2]
		p := startPipeline(t, nil, nil, fmt.Sprintf("ckpt-collect --tcp keep --leave %s %d", leave, e.pid), "ckpt-dedup", "ckpt-write -o "+e.img)
		if victim == "ckpt-guard" {
			if e.killGuard(p.cmds[0].Process.Pid) {
				caught[victim]++
			}
		} else {
			moment(e.rng, 0, 80*time.Millisecond)
			_ = p.cmds[map[string]int{"ckpt-collect": 0, "ckpt-dedup": 1, "ckpt-write": 2}[victim]].Process.Kill()
		}
		status := p.wait()
		for i, name := range []string{"ckpt-collect", "ckpt-dedup", "ckpt-write"} {
			if status[i] == -1 {
				caught[name]++
			}
		}
		if leave == "killed" && e.dies() {
			if tables := e.tables(); len(tables) != 1 || !strings.HasPrefix(tables[0], "table inet ckpt-") {
				t.Fatalf("%s was killed, the program is dead, and held by %v; exit statuses %v\n%s", victim, tables, status, p.said())
			}
			e.restore()
		} else if err := unharmed(e.pid); err != nil {
			t.Fatalf("%s was killed: %v; exit statuses %v\n%s", victim, err, status, p.said())
		}
		e.unheld()
		e.progress()
		os.Remove(e.img)
	}
	e.ends()
	for _, name := range []string{"ckpt-collect", "ckpt-guard"} {
		if caught[name] == 0 {
			t.Errorf("%s was never caught at work", name)
		}
	}
	t.Logf("killed at work: %v", caught)
}

// dies waits for what a guard without a master still does, and reports whether the
// program was killed.
func (e *echo) dies() bool {
	for end := time.Now().Add(time.Minute); guards() != "" && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
	}
	for range 25 {
		if gone(e.pid) {
			return true
		}
		time.Sleep(2 * time.Millisecond)
	}
	return false
}

// killGuard kills the guard that a process has, a moment after it is there.
func (e *echo) killGuard(of int) bool {
	for {
		children, err := proc.Children(of)
		if stat, serr := proc.ReadStat(of); err != nil || serr != nil || stat.State == 'Z' {
			return false
		}
		for _, pid := range children {
			if words, err := proc.ReadCmdline(pid); err == nil && strings.HasPrefix(string(words), "ckpt-guard") {
				moment(e.rng, 0, 40*time.Millisecond)
				return unix.Kill(pid, unix.SIGKILL) == nil
			}
		}
		time.Sleep(100 * time.Microsecond)
	}
}

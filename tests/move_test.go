package tests

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// moveRounds is how many moves are disturbed, if CKPT_MOVES does not say.
const moveRounds = 9

// recordsDir is where ckpt-commit and ckpt-apply write down how moves stand.
const recordsDir = "/run/ckpt"

// counter counts into a file, one number a line, each written by one write(2). Who runs twice
// writes a number twice.
const counter = `$0 = "counter"; for (;;) { syswrite STDOUT, ++$i . "\n"; select undef, undef, undef, 0.002 }`

// forker is a counter that has children all the time, each for a while.
const forker = `$SIG{CHLD} = "IGNORE"; $0 = "counter"; for (;;) { syswrite STDOUT, ++$i . "\n"; $i % 10 or fork or sleep(1), exit; select undef, undef, undef, 0.002 }`

// TestMove moves a program over ssh from one host, which is a network namespace, to another,
// while a tool is killed or the line is cut at a random moment. It never runs twice, and when
// --resolve has asked, it runs. Every other program is continued all the time by somebody who may.
func TestMove(t *testing.T) {
	t.Parallel()
	m := newMover(t)
	rounds := moveRounds
	if n, err := strconv.Atoi(os.Getenv("CKPT_MOVES")); err == nil {
		rounds = n
	}
	rng := random(t)
	m.patience = "1m"
	begin := time.Now()
	if got := m.round(func(*pipeline) string { return "" }); got != "moved" {
		t.Fatalf("left alone, it is %s", got)
	}
	takes := time.Since(begin)
	m.patience = "4s"
	seen := map[string]int{}
	for i := range rounds {
		m.continued = i%2 == 1
		seen[m.round(func(p *pipeline) string { return m.disturb(i, p, rng, takes) })]++
	}
	t.Logf("in %v each: %v", takes, seen)
}

// TestMoveUndecided: the answer of the other side is lost, where the program runs now. Here neither it
// nor any child of it ever does, though somebody continues it all the time; nor when its warden is killed.
func TestMoveUndecided(t *testing.T) {
	t.Parallel()
	m := newMover(t)
	m.continued, m.patience, m.program, m.way = true, "2s", forker, "lossy"
	for i := range 4 {
		m.undecided(i%2 == 1)
	}
}

// undecided does it once.
func (m *mover) undecided(alone bool) {
	m.t.Helper()
	m.start()
	defer m.end()
	p := m.pipeline()
	status := p.wait()
	told := func() string { return fmt.Sprintf("exit statuses %v\n%s", status, p.said()) }
	ids := m.records()
	if status[2] != 6 || len(ids) != 1 {
		m.t.Fatalf("not undecided, records %v: %s", ids, told())
	}
	if alone {
		for _, pid := range m.wardens() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	m.grows(told())
	m.once(told())
	procs, err := os.ReadFile(filepath.Join(recordsDir, "here-"+ids[0]))
	if err != nil {
		m.t.Fatal(err)
	}
	for _, pid := range m.left() {
		if !bytes.Contains(procs, fmt.Appendf(nil, `{"PID":%d,`, pid)) {
			m.t.Errorf("pid %d was born here: %s", pid, told())
		}
	}
	out, err := exec.Command("ckpt-commit", "--timeout", "30s", "--resolve", ids[0], "nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", m.there), binDir+"/ckpt-apply", "--prepared").CombinedOutput()
	if err != nil {
		m.t.Errorf("%v, %s: %s", err, out, told())
	}
	if left := m.left(); len(left) > 0 {
		m.t.Errorf("these were not ended here: %v, %s", left, told())
	}
	m.grows(told())
	m.once(told())
}

// left are the program's processes here.
func (m *mover) left() (pids []int) {
	all, _ := proc.Processes()
	for _, pid := range all {
		stat, err := proc.ReadStat(pid)
		if err == nil && stat.Session == m.pid() && stat.State != 'Z' && stat.State != 'X' {
			pids = append(pids, pid)
		}
	}
	return pids
}

// pipeline moves the program.
func (m *mover) pipeline() *pipeline {
	return startPipeline(m.t, nil, nil, fmt.Sprintf("ckpt-collect --leave killed %d", m.pid()), "ckpt-dedup",
		fmt.Sprintf("ckpt-commit --move --timeout %s %s/%s %s/ckpt-apply --files append --pids namespace --prepared", m.patience, m.dir, m.way, binDir))
}

// harmsOfMoves are what is done; all but the last four are done to one program.
var harmsOfMoves = []struct {
	name string
	whom func(m *mover, p *pipeline) []int
}{
	{"collect", func(_ *mover, p *pipeline) []int { return []int{p.cmds[0].Process.Pid} }},
	{"commit", func(_ *mover, p *pipeline) []int { return ofCommit(p) }},
	{"apply", func(m *mover, _ *pipeline) []int { return m.named("ckpt-apply") }},
	{"ssh", func(_ *mover, p *pipeline) []int { return ofCommand(p) }},
	{"dedup", func(_ *mover, p *pipeline) []int { return []int{p.cmds[1].Process.Pid} }},
	{"cut", nil},
	{"here", func(_ *mover, p *pipeline) []int { return ofAll(p) }},
	{"here with the warden", func(m *mover, p *pipeline) []int { return append(ofAll(p), m.wardens()...) }},
	{"all", func(m *mover, p *pipeline) []int {
		return slices.Concat(ofAll(p), m.wardens(), m.named("ckpt-apply"))
	}},
}

// mover is two hosts and a program that moves.
type mover struct {
	t           *testing.T
	dir         string
	here, there int // processes in the network namespaces
	out         string
	target      *exec.Cmd
	ended       chan struct{}
	program     string // in Perl
	patience    string // how long an answer is waited for
	way         string // the command that leads there
	continued   bool   // somebody continues the program all the time
	single      bool   // one program was killed at the most
}

func newMover(t *testing.T) *mover {
	m := &mover{t: t, dir: t.TempDir(), program: counter, way: "ssh"}
	m.out = filepath.Join(m.dir, "out")
	script := filepath.Join(m.dir, "hosts.sh")
	if err := os.WriteFile(script, []byte(hostsScript), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", script, m.dir)
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.end()
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait()
	})
	ready := filepath.Join(m.dir, "ready")
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if b, err := os.ReadFile(ready); err == nil {
			if _, err := fmt.Sscan(string(b), &m.here, &m.there); err == nil {
				return m
			}
		}
		if time.Now().After(end) {
			t.Fatalf("no two hosts: %s", said.String())
		}
	}
}

// hostsScript makes two network namespaces with a line between them, sshd in the second, and
// DIR/ssh, which leads from the first to it, and DIR/lossy, which leads there and loses the answer.
const hostsScript = `
cd $1
ssh-keygen -q -t ed25519 -N "" -f host; ssh-keygen -q -t ed25519 -N "" -f key; mkdir -p /run/sshd
unshare --net sleep 1000 & here=$!
unshare --net sleep 1000 & there=$!
end() {
	nets=$(readlink /proc/$here/ns/net /proc/$there/ns/net)
	for p in /proc/[0-9]*; do
		case $nets in *"$(readlink $p/ns/net || echo gone)"*) kill -KILL ${p#/proc/};; esac
	done
	wait
} 2>/dev/null
trap end EXIT
trap exit TERM
for pid in $here $there; do
	until [ "$(readlink /proc/$pid/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.02; done
done
at() { nsenter --net=/proc/$1/ns/net "${@:2}"; }
at $here ip link add line type veth peer name line netns $there
at $here ip addr add 10.77.0.1/24 dev line
at $there ip addr add 10.77.0.2/24 dev line
at $here ip link set line up
at $there ip link set line up
# With SHLVL, bash reads no .bashrc: what that starts may leave locks when a login is killed.
nsenter --net=/proc/$there/ns/net /usr/sbin/sshd -D -o ListenAddress=10.77.0.2 -h $PWD/host -o AuthorizedKeysFile=$PWD/key.pub -o StrictModes=no -o PermitRootLogin=yes -o UsePAM=no -o SetEnv=SHLVL=2 -o PidFile=none -o MaxStartups=1000 -E log &
for ((i = 0; i < 600; i++)); do
	at $here bash -c 'echo >/dev/tcp/10.77.0.2/22' 2>/dev/null && break
	sleep 0.05
done
cat > ssh << END
#!/bin/sh
exec nsenter --net=/proc/$here/ns/net ssh -i $PWD/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=20 -o ServerAliveInterval=1 -o ServerAliveCountMax=2 10.77.0.2 "\$@"
END
cat > lossy << END
#!/bin/sh
nsenter --net=/proc/$there/ns/net "\$@" | grep --line-buffered -v running
END
chmod 700 ssh lossy
echo $here $there > ready.part
mv ready.part ready
wait $here
`

// link switches the line between the hosts on or off.
func (m *mover) link(state string) {
	out, err := exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", m.here), "ip", "link", "set", "line", state).CombinedOutput()
	if err != nil {
		m.t.Errorf("the line could not be switched %s: %v, %s", state, err, out)
	}
}

// start starts the program here.
func (m *mover) start() {
	m.t.Helper()
	out, err := os.OpenFile(m.out, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer out.Close()
	m.target = exec.Command("perl", "-e", m.program)
	m.target.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	m.target.Stdout, m.ended = out, make(chan struct{})
	if err := m.target.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func(cmd *exec.Cmd, ended chan struct{}) { _ = cmd.Wait(); close(ended) }(m.target, m.ended)
	m.grows("before the move")
	if !m.continued {
		return
	}
	storm := exec.Command("perl", "-e", `while (kill CONT, $ARGV[0]) { select undef, undef, undef, 0.0005 }`, strconv.Itoa(m.pid()))
	if err := storm.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func(ended chan struct{}) { <-ended; _ = storm.Process.Kill(); _ = storm.Wait() }(m.ended)
}

// round moves the program while something happens, and judges.
func (m *mover) round(meanwhile func(p *pipeline) string) (outcome string) {
	m.t.Helper()
	m.start()
	defer m.end()
	p := m.pipeline()
	m.single = true
	harm := meanwhile(p)
	status := p.wait()
	told := func() string { return fmt.Sprintf("harm %q, exit statuses %v\n%s", harm, status, p.said()) }
	m.link("up")
	outcome = "decided"
	for _, id := range m.records() {
		outcome = "resolved"
		if state := m.state(id); m.single && harm != "" && state != "sent" && state != "moved" {
			m.t.Errorf("go was not said, and the target was left in state %q: %s", state, told())
		}
		m.resolve(id, told)
	}
	here, there := m.running()
	switch {
	case here && there:
		m.t.Fatalf("it runs on both sides: %s", told())
	case !here && !there:
		m.t.Fatalf("it runs on no side: %s", told())
	case there && outcome == "decided":
		outcome = "moved"
	case outcome == "decided":
		outcome = "stays"
	}
	if here {
		if err := unharmed(m.pid()); err != nil {
			m.t.Fatalf("%v: %s", err, told())
		}
	}
	m.grows(told())
	m.once(told())
	return outcome
}

// records are the ids of what is not decided yet.
func (m *mover) records() (ids []string) {
	files, _ := filepath.Glob(filepath.Join(recordsDir, "here-*"))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if bytes.Contains(b, fmt.Appendf(nil, `"Procs":[{"PID":%d,`, m.pid())) {
			ids = append(ids, strings.TrimPrefix(filepath.Base(f), "here-"))
		}
	}
	return ids
}

func (m *mover) state(id string) string {
	b, err := os.ReadFile(filepath.Join(recordsDir, "here-"+id))
	if err != nil {
		return "none"
	}
	word, _, _ := strings.Cut(strings.Trim(string(b), "\x00"), " ")
	return word
}

// resolve asks until there is an answer.
func (m *mover) resolve(id string, told func() string) {
	m.t.Helper()
	var out []byte
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		cmd := exec.Command("ckpt-commit", "--timeout", "30s", "--resolve", id)
		out, _ = cmd.CombinedOutput()
		switch cmd.ProcessState.ExitCode() {
		case 0, 3:
			return
		case 6:
		default:
			if m.state(id) == "none" { // the warden was faster
				return
			}
			m.t.Fatalf("it can't be resolved: exit status %d, %s: %s", cmd.ProcessState.ExitCode(), out, told())
		}
		if time.Now().After(end) {
			m.t.Fatalf("it stays undecided: %s: %s", out, told())
		}
	}
}

// running reports where the program runs, when it does.
func (m *mover) running() (here, there bool) {
	for end := time.Now().Add(10 * time.Second); !here && !there && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for _, pid := range m.named("counter") {
			stat, err := proc.ReadStat(pid)
			status, serr := proc.ReadStatus(pid)
			if err != nil || serr != nil || strings.ContainsRune("TtZX", rune(stat.State)) || status.TracerPid != 0 {
				continue
			}
			here, there = here || pid == m.pid(), there || pid != m.pid()
		}
	}
	return here, there
}

// named are the processes of these names there, and the program here.
func (m *mover) named(names ...string) (pids []int) {
	all, _ := proc.Processes()
	for _, pid := range all {
		comm, err := proc.ReadComm(pid, pid)
		if err == nil && slices.Contains(names, comm) && (pid == m.pid() || m.has(pid)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// wardens are those who keep the program still.
func (m *mover) wardens() (pids []int) {
	all, _ := proc.Processes()
	for _, pid := range all {
		line, _ := proc.ReadCmdline(pid)
		for _, id := range m.records() {
			if bytes.Contains(line, []byte("ckpt-warden\x00"+id)) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func (m *mover) pid() int {
	if m.target == nil {
		return 0
	}
	return m.target.Process.Pid
}

// has reports whether a process is on the other host.
func (m *mover) has(pid int) bool {
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", m.there))
	net, nerr := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	return err == nil && nerr == nil && own == net
}

// grows waits until the program has got on.
func (m *mover) grows(told string) {
	m.t.Helper()
	size := func() int64 {
		st, err := os.Stat(m.out)
		if err != nil {
			return 0
		}
		return st.Size()
	}
	before := size()
	for end := time.Now().Add(time.Minute); size() <= before+8; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatalf("it does not get on: %s", told)
		}
	}
}

// once makes sure that it has counted without a gap, and no number twice.
func (m *mover) once(told string) {
	m.t.Helper()
	b, err := os.ReadFile(m.out)
	if err != nil {
		m.t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	for i, line := range lines[:len(lines)-1] {
		if line != strconv.Itoa(i+1) {
			m.t.Fatalf("line %d is %q: it ran twice: %s", i+1, line, told)
		}
	}
}

// end ends all that is left of a round.
func (m *mover) end() {
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		left := m.named("perl", "counter", "ckpt-apply", "ckpt-init")
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			m.t.Errorf("these don't end: %v", left)
			break
		}
	}
	if m.ended != nil {
		<-m.ended
	}
	for _, id := range m.records() {
		os.Remove(filepath.Join(recordsDir, "here-"+id))
	}
}

// disturb does the i-th kind of harm: at a moment of the whole, or, every other time, close to when
// it matters.
func (m *mover) disturb(i int, p *pipeline, rng *rand.Rand, takes time.Duration) string {
	harm := harmsOfMoves[i%len(harmsOfMoves)]
	m.single = i%len(harmsOfMoves) < len(harmsOfMoves)-4
	when := "any moment"
	if rng.IntN(4) == 0 {
		moment(rng, 0, takes)
	} else {
		when = "the last moments"
		for !ended(ofCommit(p)[0]) && len(m.records()) == 0 {
			time.Sleep(50 * time.Microsecond)
		}
		moment(rng, 0, []time.Duration{time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond}[rng.IntN(3)])
	}
	if harm.whom == nil {
		m.link("down")
	} else {
		for _, pid := range harm.whom(m, p) {
			if !ended(pid) {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
	return harm.name + " at " + when
}

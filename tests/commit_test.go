package tests

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// commitRepetitions is how often each harm is done.
const commitRepetitions = 10

// storeScript stores what comes and has a name when it is whole.
const storeScript = `cat > "$1.part" && sync "$1.part" && mv "$1.part" "$1"`

// TestKillCommit does something to ckpt-commit, to its command or to all of them
// at random moments. The target, which is to be killed, runs on unharmed, or there is an
// image from which it can be restored.
func TestKillCommit(t *testing.T) {
	t.Parallel()
	for form, filters := range map[string][]string{"image": {"ckpt-dedup", "ckpt-write"}, "stream": {"ckpt-dedup"}} {
		for name, harm := range map[string]harm{
			"commit":    {signal: unix.SIGKILL, whom: ofCommit},
			"terminate": {signal: unix.SIGTERM, whom: ofCommit},
			"command":   {signal: unix.SIGKILL, whom: ofCommand, late: true},
			"child":     {signal: unix.SIGKILL, whom: ofChild, late: true},
			"stop":      {signal: unix.SIGSTOP, whom: ofCommit},
			"suspend":   {signal: unix.SIGTSTP, whom: ofAll},
		} {
			t.Run(form+"/"+name, func(t *testing.T) {
				k := &commitKiller{t: t, dir: t.TempDir(), harm: harm, form: form, filters: filters}
				k.run()
			})
		}
	}
}

// harm is what is done to whom.
type harm struct {
	signal unix.Signal
	whom   func(p *pipeline) []int
	late   bool // not before there is somebody
}

func ofCommit(p *pipeline) []int { return []int{p.cmds[len(p.cmds)-1].Process.Pid} }

// ofCommand is the command that ckpt-commit has started, if it has.
func ofCommand(p *pipeline) []int {
	children, _ := proc.Children(ofCommit(p)[0])
	return children
}

// ofChild is a child of the command.
func ofChild(p *pipeline) (pids []int) {
	for _, pid := range ofCommand(p) {
		children, _ := proc.Children(pid)
		pids = append(pids, children...)
	}
	return pids
}

// ofAll are all of a foreground job.
func ofAll(p *pipeline) (pids []int) {
	for _, cmd := range p.cmds {
		pids = append(pids, cmd.Process.Pid)
	}
	return append(append(pids, ofCommand(p)...), ofChild(p)...)
}

type commitKiller struct {
	t       *testing.T
	dir     string
	harm    harm
	form    string
	filters []string
	w       *worker
}

// run saves again and again, first without harm, which tells how long that takes.
func (k *commitKiller) run() {
	rng, killed, harmed := random(k.t), 0, 0
	k.w = startWorker(k.t, k.dir)
	begin := time.Now()
	if !k.save("", func(*pipeline) {}) {
		k.t.Fatal("left alone, it was not killed")
	}
	takes := time.Since(begin)
	for range commitRepetitions {
		if k.w.ended() {
			k.w = startWorker(k.t, k.dir)
		}
		// A program before one that is stopped lives, and waits for it.
		if k.save("--stall-timeout 500ms --max-freeze 3s", func(p *pipeline) { k.aim(p, rng, takes); harmed += k.hurt(p) }) {
			killed++
		}
	}
	if harmed == 0 {
		k.t.Error("nobody was ever there to be harmed")
	}
	k.t.Logf("in %v: harmed %d of %d times; stored and killed %d times", takes, harmed, commitRepetitions, killed)
}

// save saves the target while something happens, and reports whether it was killed. It
// was only if it can be restored.
func (k *commitKiller) save(options string, meanwhile func(p *pipeline)) (killed bool) {
	k.t.Helper()
	img, script := filepath.Join(k.dir, "img"), filepath.Join(k.dir, "store.sh")
	if err := os.WriteFile(script, []byte(storeScript), 0o600); err != nil {
		k.t.Fatal(err)
	}
	defer os.Remove(img)
	lines := append([]string{fmt.Sprintf("ckpt-collect %s --leave killed %d", options, k.w.pid())}, k.filters...)
	p := startPipeline(k.t, nil, nil, append(lines, fmt.Sprintf("ckpt-commit sh %s %s", script, img))...)
	meanwhile(p)
	status := p.wait()
	if !k.w.gone() {
		if err := unharmed(k.w.pid()); err != nil && !k.w.ended() {
			k.t.Fatalf("%v; exit statuses %v\n%s", err, status, p.said())
		}
		return false
	}
	in, err := os.Open(img)
	if err != nil {
		k.t.Fatalf("the target was killed and there is no image (%v): exit statuses %v\n%s", err, status, p.said())
	}
	defer in.Close()
	restore := []string{"ckpt-read", "ckpt-apply --check"}
	if k.form == "stream" {
		restore = restore[1:]
	}
	restored, said := runPipeline(k.t, in, nil, restore...)
	for _, s := range restored {
		if s != 0 {
			k.t.Fatalf("exit statuses %v\n%s", restored, said)
		}
	}
	return true
}

// aim waits for a moment: of the whole, or, every other time and if it is done to the
// command, of the time while there is one.
func (k *commitKiller) aim(p *pipeline, rng *rand.Rand, takes time.Duration) {
	if rng.IntN(2) == 0 && !k.harm.late {
		moment(rng, 0, takes)
		return
	}
	for end := time.Now().Add(time.Minute); len(k.harm.whom(p)) == 0 || len(ofCommand(p)) == 0; time.Sleep(time.Millisecond) {
		if ended(ofCommit(p)[0]) || time.Now().After(end) {
			return
		}
	}
	moment(rng, 0, max(takes/10, time.Millisecond))
}

// hurt sends the signal, and wakes again who was stopped by it, once ckpt-collect has
// given up. It returns 1 if there was somebody.
func (k *commitKiller) hurt(p *pipeline) (harmed int) {
	pids := k.harm.whom(p)
	for i, pid := range pids {
		sig := k.harm.signal
		if sig == unix.SIGTSTP && i > 0 { // where nobody could continue them, the kernel does not stop them by it
			sig = unix.SIGSTOP
		}
		if !ended(pid) && unix.Kill(pid, sig) == nil {
			harmed = 1
		}
	}
	if k.harm.signal != unix.SIGSTOP && k.harm.signal != unix.SIGTSTP {
		return harmed
	}
	collect := p.cmds[0].Process.Pid
	for end := time.Now().Add(time.Minute); !ended(collect); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			k.t.Fatalf("ckpt-collect (pid %d) waits for who was stopped", collect)
		}
	}
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGCONT)
	}
	return harmed
}

// ended reports whether a child of ours has ended, which nobody has waited for yet.
func ended(pid int) bool {
	stat, err := proc.ReadStat(pid)
	return err != nil || stat.State == 'Z'
}

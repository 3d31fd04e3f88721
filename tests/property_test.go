package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// TestProperty: of random trees of random state, what is killed can be restored.
// ckpt-apply --check says so with the flags that ckpt-collect named, and the restored
// tree finds itself as it was. CKPT_PROPERTY is how many trees.
func TestProperty(t *testing.T) {
	n := 12
	if s := os.Getenv("CKPT_PROPERTY"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	refused := &tally{counts: map[string]int{}}
	t.Run("trees", func(t *testing.T) {
		for seed := range n {
			t.Run(strconv.Itoa(seed), func(t *testing.T) {
				t.Parallel()
				(&randomTree{feature: &feature{t: t, goes: "go"}, seed: seed, refused: refused}).run()
			})
		}
	})
	for why, times := range refused.counts {
		t.Logf("refused %d times: %s", times, why)
	}
	if refused.trees > n/2 {
		t.Errorf("%d of %d trees were refused", refused.trees, n)
	}
}

// tally counts refusals by reason.
type tally struct {
	sync.Mutex
	counts map[string]int
	trees  int
}

var (
	numbers    = regexp.MustCompile(`\d+|\([^)]*\)+`)
	namedFlags = regexp.MustCompile(`restore it with: (--end '[^']*'|--end \S+)[,;]`)
)

func (c *tally) add(said string) {
	c.Lock()
	defer c.Unlock()
	c.trees++
	for line := range strings.Lines(said) {
		if strings.Contains(line, "error: ") {
			c.counts[numbers.ReplaceAllString(strings.TrimSpace(line), "N")]++
		}
	}
}

// randomTree is one random tree.
type randomTree struct {
	*feature
	seed    int
	refused *tally
}

func (r *randomTree) run() {
	t := r.t
	r.launch()
	pids := r.all(r.pid)
	t.Cleanup(func() {
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	})
	before := takeSnapshot(r.pid)
	said, status := r.command(fmt.Sprintf("ckpt-collect --leave killed %d | ckpt-dedup | ckpt-write -o img; set -- ${PIPESTATUS[@]}; exit $(($1 | $2))", r.pid))
	if status != 0 {
		if err := unix.Kill(r.pid, 0); err != nil || gone(r.pid) {
			t.Fatalf("refused with status %d, and it is gone:\n%s", status, said)
		}
		r.refused.add(said)
		return
	}
	for i := 0; !gone(r.pid); i++ {
		if i > 30000 {
			t.Fatalf("pid %d was not killed", r.pid)
		}
		time.Sleep(2 * time.Millisecond)
	}
	var flags []string
	for _, m := range namedFlags.FindAllStringSubmatch(said, -1) {
		flags = append(flags, m[1])
	}
	with := strings.Join(flags, " ")
	if said, status := r.command("ckpt-read < img | ckpt-apply --check " + with); status != 0 {
		t.Fatalf("killed, and it can't be restored with %q:\n%s", with, said)
	}
	done := make(chan string)
	go func() {
		said, status := r.command("ckpt-read < img | ckpt-apply " + with + " >restored")
		done <- fmt.Sprintf("status %d: %s", status, said)
	}()
	r.awaitTree()
	if !r.leadsOut() && r.seed%3 != 2 {
		before.compare(t, takeSnapshot(r.pid))
	}
	r.proceed()
	if said := <-done; !strings.HasPrefix(said, "status 0") || r.output() != "ready\npass\n" {
		t.Errorf("%s\nit says:\n%s", said, r.output())
	}
}

// awaitTree waits until the tree runs again.
func (r *randomTree) awaitTree() {
	for i := 0; unharmed(r.pid) != nil; i++ {
		if i > 12000 {
			r.t.Fatalf("pid %d does not run", r.pid)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// leadsOut: it has pipes whose other ends are outside.
func (r *randomTree) leadsOut() bool { return r.seed%4 == 1 }

// launch starts the tree: it leads a session or is in an outer one, and some have
// pipes that lead outside.
func (r *randomTree) launch() {
	t := r.t
	r.dir = t.TempDir()
	if err := os.Chmod(r.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf("exec %s %d %s >out 2>&1 </dev/null", buildC(t, "property.c"), r.seed, filepath.Join(r.dir, "go"))
	if r.leadsOut() {
		line += " 3> >(exec sleep 1000) 4< <(exec sleep 1000)"
	}
	if r.seed%3 == 2 {
		line = "(" + line + ") & wait"
	}
	cmd := exec.Command("bash", "-c", line)
	cmd.Dir, cmd.SysProcAttr = r.dir, &unix.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, pid := range r.all(cmd.Process.Pid) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		_ = cmd.Wait()
	})
	for range 6000 {
		if r.output() == "ready\n" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if r.output() != "ready\n" {
		t.Fatalf("it does not get ready: %s", r.output())
	}
	for _, pid := range r.all(cmd.Process.Pid) {
		if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); strings.HasSuffix(exe, "test-property") {
			r.pid = pid
			break
		}
	}
	if r.pid == 0 {
		t.Fatal("it is not there")
	}
}

// all returns a process and its descendants.
func (r *randomTree) all(pid int) []int {
	pids := []int{pid}
	for i := 0; i < len(pids); i++ {
		more, _ := proc.Children(pids[i])
		pids = append(pids, more...)
	}
	return pids
}

// command runs a shell line and returns what it said on stderr and its status.
func (r *randomTree) command(line string) (string, int) {
	cmd := exec.Command("bash", "-c", line)
	// A group of its own, as a shell gives a job: when a restored process ends, the
	// kernel may send SIGHUP to a group that has stopped ones in it.
	cmd.Dir, cmd.SysProcAttr = r.dir, &unix.SysProcAttr{Setpgid: true}
	var said strings.Builder
	cmd.Stderr = &said
	err := cmd.Run()
	if exit, ok := err.(*exec.ExitError); ok {
		return said.String(), exit.ExitCode()
	}
	if err != nil {
		return err.Error(), -1
	}
	return said.String(), 0
}

package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/kcmp"
	"ckpt/internal/proc"
)

// limited starts programs with few descriptors.
const limited = "prlimit --nofile=128:128 "

// holder matches the command line of processes that hold files for ckpt-apply.
const holder = "^ckpt-holder"

// crowd is a tree with more open files than one of its processes, or of the tools,
// may have descriptors.
func crowd(t *testing.T, limit string, processes, rounds int) *feature {
	t.Helper()
	f := &feature{t: t, dir: t.TempDir()}
	line := append(strings.Fields(limit), buildC(t, "plenty.c"), fmt.Sprint(processes), fmt.Sprint(rounds))
	var err error
	if f.args = line; limit != "" {
		f.args[0], err = exec.LookPath(line[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	f.start()
	return f
}

// saveLimited saves and kills it, with tools that may have few descriptors, too.
func (f *feature) saveLimited(limit string) {
	f.t.Helper()
	if f.output() != "ready\n" {
		f.t.Fatalf("it is not ready but says:\n%s", f.output())
	}
	f.shell(fmt.Sprintf("%[1]s ckpt-collect --leave killed %[2]d | %[1]s ckpt-dedup | %[1]s ckpt-write -o img", limit, f.pid))
	for i := 0; !gone(f.pid); i++ {
		if i > 5000 {
			f.t.Fatalf("pid %d was not killed", f.pid)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// restoreLimited brings it back in the same way.
func (f *feature) restoreLimited(limit string) *pipeline {
	f.t.Helper()
	img, err := os.Open(filepath.Join(f.dir, "img"))
	if err != nil {
		f.t.Fatal(err)
	}
	defer img.Close()
	p := startPipeline(f.t, img, nil, "ckpt-read", limit+"ckpt-apply -v")
	for unharmed(f.pid) != nil && !f.ended(p) {
		time.Sleep(5 * time.Millisecond)
	}
	return p
}

// shares tells, by kcmp(2), which descriptors of a tree are one open file: each has
// the number of the first.
func shares(t *testing.T, root int) []string {
	t.Helper()
	children, err := proc.Children(root)
	if err != nil {
		t.Fatal(err)
	}
	tree, last := kcmp.NewTree(kcmp.File, kcmp.Kernel{}), uint64(0)
	var all []string
	for _, pid := range append([]int{root}, children...) {
		fds, err := proc.FDs(pid)
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			id, _, err := tree.Insert(0, kcmp.Handle{PID: pid, Idx: uint64(fd)}, func() uint64 { last++; return last })
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprintf("%d:%d is %d", pid, fd, id))
		}
	}
	return all
}

var helped = regexp.MustCompile(`(\d+) objects open, with the help of (\d+) processes`)

// saveAndRestore takes a tree from its start to its end and returns how many
// processes held its files while it was restored.
func (f *feature) saveAndRestore(limit string) (holders string) {
	f.t.Helper()
	before := shares(f.t, f.pid)
	begin := time.Now()
	f.saveLimited(limit)
	saved := time.Since(begin)
	begin = time.Now()
	p := f.restoreLimited(limit)
	f.t.Logf("%d descriptors saved in %v, restored in %v", len(before), saved, time.Since(begin))
	if !f.ended(p) {
		if after := shares(f.t, f.pid); !slices.Equal(before, after) {
			f.t.Errorf("%d descriptors before, %d after, and not the same are shared", len(before), len(after))
		}
		if left := pgrep(holder); left != "" {
			f.t.Errorf("while the tree runs there are %s", left)
		}
	}
	f.proceed()
	f.judge(p)
	found := helped.FindStringSubmatch(p.said())
	if found == nil {
		f.t.Fatalf("ckpt-apply does not say who helped:\n%s", p.said())
	}
	f.t.Logf("%s", found[0])
	return found[2]
}

// TestFewDescriptors saves and restores 2300 descriptors with tools that may have
// 128 each.
func TestFewDescriptors(t *testing.T) {
	f := crowd(t, limited, 20, 10)
	if f.saveAndRestore(limited) == "0" {
		t.Error("nobody helped ckpt-apply")
	}
}

// TestPlenty does the same with the limits as they are, and 80 open files for each
// of CKPT_PLENTY rounds.
func TestPlenty(t *testing.T) {
	rounds := 20
	if s := os.Getenv("CKPT_PLENTY"); s != "" {
		if _, err := fmt.Sscan(s, &rounds); err != nil {
			t.Fatal(err)
		}
	}
	crowd(t, "", 8, rounds).saveAndRestore("")
}

// TestKillHolders kills ckpt-apply at random moments while other processes hold
// files for it: none is left.
func TestKillHolders(t *testing.T) {
	const kills = 40
	f := crowd(t, limited, 10, 10)
	f.saveLimited(limited)
	killed, held, rng := 0, 0, random(t)
	for range kills {
		img, err := os.Open(filepath.Join(f.dir, "img"))
		if err != nil {
			t.Fatal(err)
		}
		p := startPipeline(t, img, nil, "ckpt-read", limited+"ckpt-apply")
		img.Close()
		// Some time after the first holder has appeared.
		for pgrep(holder) == "" && !f.ended(p) {
			time.Sleep(time.Millisecond)
		}
		moment(rng, 0, 300*time.Millisecond)
		if pgrep(holder) != "" {
			held++
		}
		_ = p.cmds[1].Process.Kill()
		if p.wait()[1] == -1 {
			killed++
		}
		if left := stubsLeft(); left != "" {
			t.Fatalf("left behind: %s", left)
		}
		if !gone(f.pid) { // it ran already
			_ = unix.Kill(f.pid, unix.SIGKILL)
			for i := 0; !gone(f.pid) && i < 1000; i++ {
				time.Sleep(5 * time.Millisecond)
			}
			f.killChildren()
		}
	}
	t.Logf("ckpt-apply was killed %d times of %d, %d times while others held files", killed, kills, held)
	if killed == 0 || held == 0 {
		t.Error("it was never caught at work")
	}
}

// killChildren kills what still runs the program, and waits for its end.
func (f *feature) killChildren() {
	f.t.Helper()
	name := filepath.Base(f.args[len(f.args)-3])
	for range 1000 {
		pids, err := proc.Processes()
		if err != nil {
			f.t.Fatal(err)
		}
		left := 0
		for _, pid := range pids {
			if cmdline, err := proc.ReadCmdline(pid); err == nil && strings.HasPrefix(string(cmdline), f.args[len(f.args)-3]+"\x00") {
				_ = unix.Kill(pid, unix.SIGKILL)
				left++
			}
		}
		if left == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	f.t.Fatalf("processes of %s do not end", name)
}

// TestFullTable has processes with nearly all the descriptors they may have, of
// which an epoll watches the last: with room for two more they are restored, without
// it they are refused, and not killed.
func TestFullTable(t *testing.T) {
	full := func(t *testing.T, n int) *feature {
		prlimit, err := exec.LookPath("prlimit")
		if err != nil {
			t.Fatal(err)
		}
		f := &feature{t: t, args: []string{prlimit, "--nofile=128:128", buildC(t, "plenty.c"), "full", fmt.Sprint(n)}}
		f.start()
		return f
	}
	t.Run("room", func(t *testing.T) {
		f := full(t, 126)
		f.saveLimited(limited)
		p := f.restoreLimited(limited)
		f.proceed()
		f.judge(p)
	})
	t.Run("none", func(t *testing.T) {
		f := full(t, 127)
		for _, line := range []string{
			limited + "ckpt-collect --dry-run %d",
			limited + "ckpt-collect --leave killed %d | " + limited + "ckpt-dedup | ckpt-write -o img",
		} {
			cmd := exec.Command("bash", "-c", "set -o pipefail; "+fmt.Sprintf(line, f.pid))
			cmd.Dir = f.dir
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "has 127 descriptors and needs 129 while it is restored, and a process of this user may have 128 (RLIMIT_NOFILE)") {
				t.Errorf("%s: %v\n%s", line, err, out)
			}
			if err := unharmed(f.pid); err != nil {
				t.Fatal(err)
			}
		}
		// With more room it can be restored.
		f.save("killed")
		p := f.restore()
		f.proceed()
		f.judge(p)
	})
}

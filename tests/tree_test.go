package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

const (
	// treeRounds is how long a tree works: some ten seconds undisturbed.
	treeRounds = 200_000
	// treeKills is how often something is killed in each of the two fault tests.
	treeKills = 200
)

// workTree is a tree of processes of testdata/tree.c, started anew when it has
// ended; a restored one takes its place.
type workTree struct {
	t    *testing.T
	dir  string
	want string
	root int
	pids []int // all of the tree, the root first
	tids []int
}

func newWorkTree(t *testing.T) *workTree {
	t.Helper()
	out, err := exec.Command(buildC(t, "tree.c"), fmt.Sprint(treeRounds)).Output()
	if err != nil {
		t.Fatal(err)
	}
	w := &workTree{t: t, dir: t.TempDir(), want: string(out)}
	t.Cleanup(w.kill)
	return w
}

// start starts a tree and waits until all of it is there.
func (w *workTree) start() {
	t := w.t
	t.Helper()
	f := &feature{t: t, dir: w.dir, args: []string{buildC(t, "tree.c"), fmt.Sprint(treeRounds)}}
	f.start()
	w.root = f.pid
	w.pids, w.tids = nil, nil
	w.note(f.pid)
	if len(w.pids) != 6 || len(w.tids) != 9 {
		t.Fatalf("the tree has processes %v and threads %v", w.pids, w.tids)
	}
}

// note lists a process and what descends from it.
func (w *workTree) note(pid int) {
	w.t.Helper()
	tids, err := proc.Threads(pid)
	if err != nil {
		w.t.Fatal(err)
	}
	w.pids, w.tids = append(w.pids, pid), append(w.tids, tids...)
	children, err := proc.Children(pid)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range children {
		w.note(c)
	}
}

// left are the tree's processes that exist.
func (w *workTree) left() (pids []int) {
	for _, pid := range w.pids {
		if !gone(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// kill kills what is left of it.
func (w *workTree) kill() {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		left := w.left()
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(2 * time.Millisecond)
	}
	w.t.Errorf("processes %v don't end", w.left())
}

// killed reports whether the tree was killed, waiting a moment for it.
func (w *workTree) killed() bool {
	for i := 0; ; i++ {
		left := len(w.left())
		switch {
		case left == 0:
			return !w.done()
		case w.done(), left == len(w.pids) && i >= 25, i >= 2500: // some may be dying, and have no CPU to do it on
			return false
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// done reports whether the tree has ended by itself.
func (w *workTree) done() bool { return strings.Contains(w.output(), "sum ") }

// ends reports whether the tree is about to end: its root waits for the others
// before it prints the result.
func (w *workTree) ends() bool {
	for range 1000 {
		if w.done() {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

func (w *workTree) output() string {
	b, _ := os.ReadFile(filepath.Join(w.dir, "out"))
	return string(b)
}

// unharmed checks that no process is traced, stopped or missing.
func (w *workTree) unharmed() error {
	for _, pid := range w.pids {
		stat, err := proc.ReadStat(pid)
		if w.done() {
			return nil
		}
		if err != nil && w.ends() {
			return nil
		}
		if err != nil {
			return fmt.Errorf("of the tree %v, pid %d is lost", w.pids, pid)
		}
		tids, err := proc.Threads(pid)
		if err != nil || stat.State == 'Z' {
			continue // its part is done
		}
		for _, tid := range tids {
			if err := unharmedThread(pid, tid); err != nil {
				return err
			}
		}
	}
	return nil
}

// unharmedThread waits a moment for a thread to be let go.
func unharmedThread(pid, tid int) (err error) {
	for range 100 {
		status, serr := proc.ReadThreadStatus(pid, tid)
		switch {
		case serr != nil:
			return nil // it has ended
		case status.TracerPid != 0:
			err = fmt.Errorf("thread %d of pid %d is traced by pid %d", tid, pid, status.TracerPid)
		case strings.ContainsRune("Tt", rune(status.State)):
			err = fmt.Errorf("thread %d of pid %d is in state %c", tid, pid, status.State)
		default:
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return err
}

// result waits for the tree's end and checks its output.
func (w *workTree) result() {
	w.t.Helper()
	for begin := time.Now(); !w.done(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > time.Minute {
			w.t.Fatalf("the tree does not end; left are %v", w.left())
		}
	}
	if got := w.output(); got != w.want {
		w.t.Fatalf("the tree's output is wrong:\n%s", got)
	}
}

// restore brings the tree back from an image; ckpt-apply leaves.
func (w *workTree) restore(img string, flags ...string) {
	w.t.Helper()
	in, err := os.Open(img)
	if err != nil {
		w.t.Fatalf("the tree was killed and there is no image: %v", err)
	}
	defer in.Close()
	apply := strings.Join(append([]string{"ckpt-apply", "--detach"}, flags...), " ")
	if status, said := runPipeline(w.t, in, nil, "ckpt-read", apply); status[0] != 0 || status[1] != 0 {
		w.t.Fatalf("exit statuses %v\n%s", status, said)
	}
}

// TestTreeKillFilter kills the filters at random moments of a checkpoint of a
// tree: no process is lost, and the result is right. The tree is killed on request
// only when the image is complete; then it is restored and goes on.
func TestTreeKillFilter(t *testing.T) {
	w := newWorkTree(t)
	img := filepath.Join(t.TempDir(), "img")
	w.start()
	killed, restored, ended, rng := 0, 0, 0, random(t)
	for i := range treeKills {
		if w.done() {
			w.result()
			w.kill()
			ended++
			w.start()
		}
		leave := []string{"running", "killed"}[i/3%2]
		p := startPipeline(t, nil, nil, fmt.Sprintf("ckpt-collect --leave %s %d", leave, w.root), "ckpt-dedup", "ckpt-write -o "+img)
		moment(rng, 0, time.Duration(1+i%5*2)*60*time.Millisecond)
		_ = p.cmds[i%3].Process.Kill()
		status := p.wait()
		if status[i%3] == -1 {
			killed++
		}
		if leave == "killed" && len(w.left()) < len(w.pids) && !w.done() {
			if !w.killed() { // it ends by itself, or never
				w.result()
				continue
			}
			w.restore(img)
			restored++
		}
		if err := w.unharmed(); err != nil {
			t.Logf("%v; exit statuses %v\n%s", err, status, p.said())
			w.result() // a process may have ended, its work done; a tree that lost one has no right result
		}
		os.Remove(img)
	}
	w.result()
	if killed == 0 || restored == 0 {
		t.Errorf("filters were caught at work %d times, the tree was restored %d times", killed, restored)
	}
	t.Logf("filters were caught at work %d times of %d, the tree was restored %d times and came to its end %d times", killed, treeKills, restored, ended+1)
}

// TestKillWhole kills ckpt-collect as soon as the first process of a large tree ends of its
// kill: all of them end.
func TestKillWhole(t *testing.T) {
	const kids = 200
	for range 5 {
		cmd := exec.Command("bash", "-c", fmt.Sprintf("for ((i = 0; i < %d; i++)); do sleep 600 & done; wait", kids))
		cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		root := cmd.Process.Pid
		var tree []int
		for end := time.Now().Add(time.Minute); len(tree) < kids && time.Now().Before(end); time.Sleep(time.Millisecond) {
			tree, _ = proc.Children(root)
		}
		tree = append(tree, root)
		p := startPipeline(t, nil, nil, fmt.Sprintf("ckpt-collect --leave killed %d", root), "ckpt-dedup", "ckpt-write -o "+filepath.Join(t.TempDir(), "img"))
		awaitAnyEnd(t, tree)
		_ = p.cmds[0].Process.Kill()
		status := p.wait()
		if left := awaitEnds(tree); len(left) > 0 {
			t.Errorf("%d of %d processes are left; exit statuses %v\n%s", len(left), kids+1, status, p.said())
		}
		_ = unix.Kill(-root, unix.SIGKILL)
		_ = cmd.Wait()
	}
}

// awaitAnyEnd waits until one of some processes ends.
func awaitAnyEnd(t *testing.T, pids []int) {
	t.Helper()
	var ends []unix.PollFd
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		ends = append(ends, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if n, err := unix.Poll(ends, 1000); err != unix.EINTR && n > 0 {
			return
		}
	}
	t.Fatal("no process ends")
}

// awaitEnds waits a moment for processes to end, and returns those that don't.
func awaitEnds(pids []int) []int {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		pids = slices.DeleteFunc(pids, func(pid int) bool {
			stat, err := proc.ReadStat(pid)
			return err != nil || stat.State == 'Z'
		})
		if len(pids) == 0 || time.Now().After(end) {
			return pids
		}
	}
}

// TestTreeKillReader kills ckpt-read and ckpt-apply at random moments of a
// restore: all of the tree is there, or nothing.
func TestTreeKillReader(t *testing.T) {
	w := newWorkTree(t)
	img := filepath.Join(t.TempDir(), "img")
	w.start()
	rng := random(t)
	moment(rng, 0, 400*time.Millisecond)
	if status, said := runPipeline(t, nil, nil, fmt.Sprintf("ckpt-collect --leave killed %d", w.root), "ckpt-dedup", "ckpt-write -o "+img); slices.Max(status) != 0 {
		t.Fatalf("exit statuses %v\n%s", status, said)
	}
	killed, ran := 0, 0
	for i := range treeKills {
		in, err := os.Open(img)
		if err != nil {
			t.Fatal(err)
		}
		p := startPipeline(t, in, nil, "ckpt-read", "ckpt-apply --detach --files append")
		moment(rng, 0, time.Duration(1+i%5*2)*40*time.Millisecond)
		_ = p.cmds[i%2].Process.Kill()
		status := p.wait()
		in.Close()
		if status[i%2] == -1 {
			killed++
		}
		if !w.killed() {
			if err := w.unharmed(); err != nil {
				t.Fatalf("a half-restored tree is left: %v; exit statuses %v\n%s", err, status, p.said())
			}
			ran++
			w.kill()
		} else if status[1] == 0 {
			t.Fatalf("ckpt-apply succeeded and there is no tree\n%s", p.said())
		}
		if left := stubsLeft(); left != "" {
			t.Fatalf("left behind: %s", left)
		}
	}
	t.Logf("filters were caught at work %d times of %d, the tree ran %d times", killed, treeKills, ran)
	if killed == 0 || ran == 0 {
		t.Errorf("filters were caught at work %d times, the tree ran %d times", killed, ran)
	}
}

// TestTreeRefused restores a tree where an id is taken, and from damaged images:
// there is one error, and nothing is left.
func TestTreeRefused(t *testing.T) {
	w := newWorkTree(t)
	img := filepath.Join(t.TempDir(), "img")
	w.start()
	collect := func(leave string) {
		t.Helper()
		if status, said := runPipeline(t, nil, nil, fmt.Sprintf("ckpt-collect --leave %s %d", leave, w.root), "ckpt-dedup", "ckpt-write -o "+img); slices.Max(status) != 0 {
			t.Fatalf("exit statuses %v\n%s", status, said)
		}
	}
	apply := func(img string) ([]int, string) {
		t.Helper()
		in, err := os.Open(img)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		return runPipeline(t, in, nil, "ckpt-read", "ckpt-apply --detach")
	}
	collect("running")
	status, said := apply(img)
	if n := strings.Count(said, "is in use by"); status[1] != 125 || n != len(w.tids) {
		t.Errorf("while the tree runs: exit statuses %v, %d ids taken of %d\n%s", status, n, len(w.tids), said)
	}
	if err := w.unharmed(); err != nil {
		t.Fatal(err)
	}
	collect("killed")
	whole, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad")
	for i := range 40 {
		broken := slices.Clone(whole)
		if at := len(whole) * i / 40; i%2 == 0 {
			broken = broken[:at]
		} else {
			broken[at] ^= 0x10
		}
		if err := os.WriteFile(bad, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		status, said := apply(bad)
		if status[1] != 125 || strings.Count(said, "error:") != 1 {
			t.Errorf("damage %d: exit statuses %v\n%s", i, status, said)
		}
		if left := w.left(); len(left) != 0 {
			t.Fatalf("damage %d: %v are left", i, left)
		}
	}
	w.restore(img)
	w.result()
}

// TestTreeStarved kills ckpt-collect while the tree hardly gets to run, so that
// the next one finds it still recovering from the last.
func TestTreeStarved(t *testing.T) {
	w := newWorkTree(t)
	w.start()
	idle := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}
	for _, tid := range w.tids {
		if err := unix.SchedSetAttr(tid, &idle, 0); err != nil && err != unix.ESRCH {
			t.Fatal(err)
		}
	}
	stop, rng := hogs(t), random(t)
	for range killRepetitions {
		if w.done() {
			break
		}
		p := startPipeline(t, nil, nil, fmt.Sprintf("ckpt-collect %d", w.root), "ckpt-dedup", "ckpt-write")
		moment(rng, 10*time.Millisecond, 90*time.Millisecond)
		_ = p.cmds[0].Process.Kill()
		p.wait()
	}
	stop()
	if err := w.unharmed(); err != nil {
		t.Fatal(err)
	}
	w.result()
}

// TestTreeNoSpace fills the image's file system: the tree runs on although it was
// to be killed.
func TestTreeNoSpace(t *testing.T) {
	w := newWorkTree(t)
	mnt := t.TempDir()
	if err := unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=16k"); err != nil {
		t.Fatalf("a small tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mnt, unix.MNT_DETACH) })
	w.start()
	status, said := runPipeline(t, nil, nil, fmt.Sprintf("ckpt-collect --leave killed %d", w.root), "ckpt-dedup", "ckpt-write -o "+filepath.Join(mnt, "img"))
	if status[0] == 0 || status[2] != 1 || strings.Count(said, "error:") != 1 || !strings.Contains(said, "no space left") {
		t.Errorf("exit statuses %v\n%s", status, said)
	}
	if left, _ := os.ReadDir(mnt); len(left) != 0 {
		t.Errorf("files are left behind: %v", left)
	}
	if err := w.unharmed(); err != nil {
		t.Fatal(err)
	}
	w.result()
}

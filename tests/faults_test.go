package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// killRepetitions is how often each filter is killed.
const killRepetitions = 25

// TestKillFilter kills each filter at random moments. The target must not notice: it
// runs on, without a tracer, to the right result. Asked to kill the target,
// ckpt-collect must do so only when the image is complete.
func TestKillFilter(t *testing.T) {
	t.Parallel()
	want := expected(t)
	for victim, name := range []string{"collect", "dedup", "write"} {
		for _, leave := range []string{"running", "killed"} {
			t.Run(name+"/leave-"+leave, func(t *testing.T) { killFilter(t, victim, leave, want, 0) })
		}
	}
}

// killFilter kills the victim of the pipeline's programs, or the child of the first, if that
// has one. The target is in namespaces of its own, if apart says so.
func killFilter(t *testing.T, victim int, leave, want string, apart uintptr) {
	dir := t.TempDir()
	img := filepath.Join(dir, "img")
	w, rng := startWorkerApart(t, dir, apart), random(t)
	killed, survived := 0, 0
	for range killRepetitions {
		if w.ended() {
			if got := w.result(); got != want {
				t.Fatalf("the target's output is wrong:\n%s", got)
			}
			w = startWorkerApart(t, dir, apart)
		}
		p := startPipeline(t, nil, nil,
			fmt.Sprintf("ckpt-collect --leave %s %d", leave, w.pid()), "ckpt-dedup", "ckpt-write -o "+img)
		moment(rng, 0, 60*time.Millisecond)
		if victim < len(p.cmds) {
			_ = p.cmds[victim].Process.Kill()
		} else if kids, _ := proc.Children(p.cmds[0].Process.Pid); len(kids) > 0 {
			_ = unix.Kill(kids[0], unix.SIGKILL)
		}
		status := p.wait()
		if victim < len(p.cmds) && status[victim] == -1 || victim == len(p.cmds) && strings.Contains(p.said(), "was ended by SIGKILL") {
			killed++
		}
		if leave == "killed" && w.gone() {
			// It may be killed only if the image is complete, and then it can be restored.
			if in, err := os.Open(img); err != nil {
				t.Fatalf("the target was killed and there is no image (%v): exit statuses %v\n%s", err, status, p.said())
			} else {
				restoreWorker(t, in)
			}
			if got := w.result(); got != want {
				t.Fatalf("the restored target's output is wrong:\n%s", got)
			}
			w = startWorkerApart(t, dir, apart)
		} else if err := unharmed(w.pid()); err != nil && !w.ended() {
			t.Fatalf("%v; exit statuses %v\n%s", err, status, p.said())
		} else {
			survived++
		}
		os.Remove(img)
		if left, _ := os.ReadDir(dir); len(left) != 1 {
			t.Fatalf("files are left behind: %v", left)
		}
	}
	if got := w.result(); got != want {
		t.Fatalf("the target's output is wrong:\n%s", got)
	}
	if killed == 0 {
		t.Errorf("the filter was never caught at work")
	}
	t.Logf("%d of %d times killed at work, the target went on %d times", killed, killRepetitions, survived)
}

// gone waits a moment and reports whether the worker was killed.
func (w *worker) gone() bool {
	select {
	case <-w.done:
		ws := w.cmd.ProcessState.Sys().(syscall.WaitStatus)
		return ws.Signaled()
	case <-time.After(50 * time.Millisecond):
		return false
	}
}

// restoreWorker restores and waits for the end.
func restoreWorker(t *testing.T, in *os.File) {
	t.Helper()
	defer in.Close()
	if status, said := runPipeline(t, in, nil, "ckpt-read", "ckpt-apply"); status[0] != 0 || status[1] != 0 {
		t.Fatalf("exit statuses %v\n%s", status, said)
	}
}

// savedWorker returns a worker that was saved and killed at work, and its image. It is
// started in namespaces of its own, if apart says so.
func savedWorker(t *testing.T, apart uintptr) (w *worker, img string) {
	t.Helper()
	dir := t.TempDir()
	img = filepath.Join(dir, "img")
	w = startWorkerApart(t, dir, apart)
	w.works()
	if status, said := runPipeline(t, nil, nil, fmt.Sprintf("ckpt-collect --leave killed %d", w.pid()), "ckpt-dedup", "ckpt-write -o "+img); status[0]+status[1]+status[2] != 0 {
		t.Fatalf("exit statuses %v\n%s", status, said)
	}
	<-w.done
	return w, img
}

// TestKillReader kills ckpt-read and ckpt-apply at random moments: no task is
// left, and the image restores afterwards.
func TestKillReader(t *testing.T) {
	t.Parallel()
	want := expected(t)
	w, img := savedWorker(t, 0)
	saved, err := os.Stat(filepath.Join(w.dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	// In an attempt that is killed too late the worker runs, and writes more.
	takeBack := func() {
		if err := os.Truncate(filepath.Join(w.dir, "out"), saved.Size()); err != nil {
			t.Fatal(err)
		}
	}
	rng := random(t)
	for i := range 2 * killRepetitions {
		takeBack()
		in, err := os.Open(img)
		if err != nil {
			t.Fatal(err)
		}
		p := startPipeline(t, in, nil, "ckpt-read", "ckpt-apply --files append")
		moment(rng, 0, 25*time.Millisecond)
		_ = p.cmds[i%2].Process.Kill()
		ran := make(chan []int)
		go func() { ran <- p.wait() }()
		select {
		case <-ran:
		case <-time.After(500 * time.Millisecond): // it ran already
			_ = p.cmds[1].Process.Signal(unix.SIGTERM)
			<-ran
		}
		in.Close()
		// A restored process that ckpt-apply has let go lives on without it; any
		// other must be gone.
		if !goneSoon(w.pid()) {
			if err := unharmed(w.pid()); err != nil && !gone(w.pid()) {
				t.Fatalf("a half-restored process is left: %v", err)
			}
			_ = unix.Kill(w.pid(), unix.SIGKILL)
			if !goneSoon(w.pid()) {
				t.Fatalf("pid %d is left", w.pid())
			}
		}
		if left := stubsLeft(); left != "" {
			t.Fatalf("left behind: %s", left)
		}
	}
	takeBack()
	in, err := os.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if status, said := runPipeline(t, in, nil, "ckpt-read", "ckpt-apply --files append"); status[0] != 0 || status[1] != 0 {
		t.Fatalf("exit statuses %v\n%s", status, said)
	}
	if got := w.result(); got != want {
		t.Fatalf("the restored target's output is wrong:\n%s", got)
	}
}

// TestKillNamespace kills ckpt-apply, and the init of the pid namespace that it makes, at
// random moments: no process, and so no namespace and no mount, is left.
func TestKillNamespace(t *testing.T) {
	t.Parallel()
	_, img := savedWorker(t, 0)
	killApart(t, img, "ckpt-apply --files append --pids namespace", false)
}

// killApart kills a ckpt-apply, or one of its children, at random moments. mayStay: if it
// comes too late, the tree stays.
func killApart(t *testing.T, img, apply string, mayStay bool) {
	t.Helper()
	rng := random(t)
	for i := range 2 * killRepetitions {
		in, err := os.Open(img)
		if err != nil {
			t.Fatal(err)
		}
		p := startPipeline(t, in, nil, "ckpt-read", apply)
		moment(rng, 0, 100*time.Millisecond)
		victim := p.cmds[1].Process.Pid
		within := below(victim)
		if kids, _ := proc.Children(victim); i%2 == 1 && len(kids) > 0 {
			victim = kids[i/2%len(kids)]
		}
		_ = unix.Kill(victim, unix.SIGKILL)
		p.wait()
		in.Close()
		for _, pid := range within {
			// A tree that was let go already lives on without ckpt-apply.
			if status, err := proc.ReadStatus(pid); err == nil && mayStay && status.NSpid[len(status.NSpid)-1] == 1 && !goneSoon(pid) && unharmed(pid) == nil {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
			tries := 0
			for ; tries < 50 && !goneSoon(pid); tries++ {
			}
			if tries == 50 {
				stat, err := proc.ReadStat(pid)
				t.Fatalf("attempt %d: pid %d is left: %+v, %v", i, pid, stat, err)
			}
		}
		if left := stubsLeft(); left != "" {
			t.Fatalf("left behind: %s", left)
		}
	}
}

// below returns all descendants of a process.
func below(pid int) (all []int) {
	kids, _ := proc.Children(pid)
	for _, kid := range kids {
		all = append(append(all, kid), below(kid)...)
	}
	return all
}

func goneSoon(pid int) bool {
	for range 100 {
		if gone(pid) {
			return true
		}
		time.Sleep(2 * time.Millisecond)
	}
	return false
}

// stubsLeft lists the puppets that no ckpt-apply holds, once they have had time to
// end. Those of other tests' restores are held.
func stubsLeft() string {
	var left string
	for range 500 {
		left = ""
		for line := range strings.Lines(pgrep("^ckpt-(stub|holder)")) {
			pid, _ := strconv.Atoi(strings.Fields(line)[0])
			if status, err := proc.ReadStatus(pid); err == nil && status.TracerPid == 0 {
				left += line
			}
		}
		if left == "" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return left
}

// pgrep lists the processes whose command line matches a pattern.
func pgrep(pattern string) string {
	out, _ := exec.Command("pgrep", "-a", "-f", pattern).Output()
	return string(out)
}

// TestNoSpace fills the image's file system. Nothing of the image is left, the
// target runs on although it was to be killed, and the user is told once.
func TestNoSpace(t *testing.T) {
	t.Parallel()
	dir, mnt := t.TempDir(), t.TempDir()
	if err := unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatalf("a small tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mnt, unix.MNT_DETACH) })
	w := startWorker(t, dir)
	w.works()
	check := func(what string, status []int, said string) {
		t.Helper()
		if status[0] == 0 || status[2] != 1 {
			t.Errorf("%s: exit statuses %v\n%s", what, status, said)
		}
		if n := strings.Count(said, "error:"); n != 1 || !strings.Contains(said, "no space left") {
			t.Errorf("%s: %d errors:\n%s", what, n, said)
		}
		if err := unharmed(w.pid()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	collect := fmt.Sprintf("ckpt-collect --leave killed %d", w.pid())
	status, said := runPipeline(t, nil, nil, collect, "ckpt-dedup", "ckpt-write -o "+filepath.Join(mnt, "img"))
	check("-o", status, said)
	if left, _ := os.ReadDir(mnt); len(left) != 0 {
		t.Errorf("files are left behind: %v", left)
	}
	out, err := os.Create(filepath.Join(mnt, "img2"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	status, said = runPipeline(t, nil, out, collect, "ckpt-dedup", "ckpt-write")
	check("stdout", status, said)
	in, err := os.Open(filepath.Join(mnt, "img2"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if status, said := runPipeline(t, in, nil, "ckpt-read", "ckpt-apply"); status[0] != 4 || status[1] != 125 {
		t.Errorf("the cut image: exit statuses %v\n%s", status, said)
	}
}

// TestKillStarved kills ckpt-collect while the target hardly gets to run, so
// that the next one finds it still recovering from the last.
func TestKillStarved(t *testing.T) {
	want := expected(t)
	dir := t.TempDir()
	starve := func() *worker {
		w := startWorker(t, dir)
		idle := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}
		if err := unix.SchedSetAttr(w.pid(), &idle, 0); err != nil {
			t.Fatal(err)
		}
		return w
	}
	stop := hogs(t)
	w, rng := starve(), random(t)
	for range 2 * killRepetitions {
		if w.ended() {
			if got := w.result(); got != want {
				t.Fatalf("the target's output is wrong:\n%s", got)
			}
			w = starve()
		}
		p := startPipeline(t, nil, nil, fmt.Sprintf("ckpt-collect %d", w.pid()), "ckpt-dedup", "ckpt-write")
		moment(rng, 10*time.Millisecond, 70*time.Millisecond)
		_ = p.cmds[0].Process.Kill()
		p.wait()
	}
	stop()
	if got := w.result(); got != want {
		t.Errorf("the target's output is wrong:\n%s", got)
	}
}

// hogs keep all processors busy until stopped.
func hogs(t *testing.T) (stop func()) {
	var all []*exec.Cmd
	stop = func() {
		for _, hog := range all {
			_ = hog.Process.Kill()
			_ = hog.Wait()
		}
		all = nil
	}
	t.Cleanup(func() { stop() })
	for range 2 * runtime.NumCPU() {
		hog := exec.Command("sh", "-c", "while :; do :; done")
		if err := hog.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, hog)
	}
	return stop
}

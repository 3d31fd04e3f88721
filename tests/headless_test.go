package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// TestFirstEnded saves processes whose first thread has ended more than once, and kills
// filters at random moments while they save or restore such.
func TestFirstEnded(t *testing.T) {
	target := func(t *testing.T, name string) *feature {
		t.Parallel()
		f := &feature{t: t, args: []string{buildC(t, name+".c")}}
		f.start()
		return f
	}
	for _, name := range []string{"c/first_ended_tables", "c/first_ended_child"} {
		t.Run("generations/"+filepath.Base(name), func(t *testing.T) {
			f := target(t, name)
			before := takeSnapshot(f.pid)
			for range 3 {
				f.save("running")
				before.compare(t, takeSnapshot(f.pid))
				f.save("killed")
				f.shell("ckpt-read < img | ckpt-apply --detach")
				before.compare(t, takeSnapshot(f.pid))
			}
			f.save("killed")
			apply := f.restore()
			f.proceed()
			f.judge(apply)
		})
	}
	t.Run("stopped", func(t *testing.T) { firstEndedStopped(target(t, "c/first_ended_tables")) })
	t.Run("killed", func(t *testing.T) {
		f := target(t, "first_killed")
		f.notSaved("has a first thread that was killed while others go on (bad system call), which can't be saved")
	})
	t.Run("exiting", func(t *testing.T) {
		f := target(t, "first_ending")
		f.shell(fmt.Sprintf("ckpt-collect --dry-run --timeout 1000s %d", f.pid))
		if err := unharmed(f.pid); err != nil || proc.Living(f.pid) == f.pid {
			t.Error("the first thread has not ended, or another is not as it was:", err)
		}
	})
	t.Run("kill-save", func(t *testing.T) { killSave(target(t, "c/first_ended_child")) })
	t.Run("kill-restore", func(t *testing.T) { killRestore(target(t, "c/first_ended_child")) })
	t.Run("namespace", func(t *testing.T) {
		f := target(t, "c/first_ended_tables")
		f.save("killed")
		img := f.image()
		defer img.Close()
		apply := startPipeline(t, img, nil, "ckpt-read", "ckpt-apply --pids namespace")
		f.proceed()
		f.judge(apply)
	})
}

// firstEndedStopped: of a stopped process the kernel does not tell how its first thread ended.
func firstEndedStopped(f *feature) {
	f.signal(unix.SIGSTOP)
	f.becomes("stopped", func() bool {
		stat, err := proc.ReadStat(proc.Living(f.pid))
		return err == nil && stat.State == 'T'
	})
	f.notSaved("has ended its first thread while others go on, and is stopped", "hint: continue it")
	f.signal(unix.SIGCONT)
	f.save("killed")
	apply := f.restore()
	f.proceed()
	f.judge(apply)
}

// killSave kills the filters that save the program, which must not notice.
func killSave(f *feature) {
	t, rng, caught := f.t, random(f.t), 0
	before := takeSnapshot(f.pid)
	for i := range killRepetitions {
		img := filepath.Join(f.dir, "img")
		p := startPipeline(t, nil, nil, fmt.Sprintf("ckpt-collect --leave %s %d", []string{"running", "killed"}[i%2], f.pid), "ckpt-dedup", "ckpt-write -o "+img)
		moment(rng, 0, 60*time.Millisecond)
		_ = p.cmds[i%3].Process.Kill()
		if status := p.wait(); status[i%3] == -1 {
			caught++
		}
		err := unharmed(f.pid)
		killed := i%2 == 1 && goneSoon(f.pid)
		if err != nil && !killed {
			t.Fatalf("%v\n%s", err, p.said())
		}
		if killed {
			f.shell("ckpt-read < img | ckpt-apply --detach")
		}
		before.compare(t, takeSnapshot(f.pid))
	}
	if caught == 0 {
		t.Error("no filter was caught at work")
	}
	f.save("killed")
	apply := f.restore()
	f.proceed()
	f.judge(apply)
}

// killRestore kills the filters that restore the program: nothing of it may be left.
func killRestore(f *feature) {
	t, rng := f.t, random(f.t)
	f.save("killed")
	for range killRepetitions {
		in := f.image()
		p := startPipeline(t, in, nil, "ckpt-read", "ckpt-apply --detach")
		moment(rng, 0, 30*time.Millisecond)
		_ = p.cmds[1].Process.Kill()
		p.wait()
		in.Close()
		if !goneSoon(f.pid) { // it ran already
			if err := unharmed(f.pid); err != nil {
				t.Fatalf("a half-restored process is left: %v", err)
			}
			within := below(f.pid)
			_ = unix.Kill(f.pid, unix.SIGKILL)
			for _, pid := range within {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
			for _, pid := range append(within, f.pid) {
				tries := 0
				for ; tries < 50 && !goneSoon(pid); tries++ {
				}
				if tries == 50 {
					stat, err := proc.ReadStat(pid)
					t.Fatalf("pid %d is left: %+v, %v", pid, stat, err)
				}
			}
		}
		if left := stubsLeft(); left != "" {
			t.Fatalf("left behind: %s", left)
		}
	}
	apply := f.restore()
	f.proceed()
	f.judge(apply)
}

// notSaved has the program refused with these words.
func (f *feature) notSaved(words ...string) {
	f.t.Helper()
	p := startPipeline(f.t, nil, nil, fmt.Sprintf("ckpt-collect --dry-run %d", f.pid), "cat")
	if status := p.wait(); status[0] != 3 {
		f.t.Errorf("exit statuses %v", status)
	}
	for _, part := range words {
		if !strings.Contains(p.said(), part) {
			f.t.Errorf("it does not say %q:\n%s", part, p.said())
		}
	}
}

// becomes waits until the program is in a state.
func (f *feature) becomes(what string, is func() bool) {
	f.t.Helper()
	for range 12000 {
		if is() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	f.t.Fatal("it does not become " + what)
}

func (f *feature) signal(sig unix.Signal) {
	f.t.Helper()
	if err := unix.Kill(f.pid, sig); err != nil {
		f.t.Fatal(err)
	}
}

func (f *feature) image() *os.File {
	f.t.Helper()
	img, err := os.Open(filepath.Join(f.dir, "img"))
	if err != nil {
		f.t.Fatal(err)
	}
	return img
}

package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// TestScale saves and restores a thousand threads and a thousand processes.
func TestScale(t *testing.T) {
	const n = 1000
	for _, what := range []string{"threads", "processes"} {
		t.Run(what, func(t *testing.T) {
			f := &feature{t: t, args: []string{buildC(t, "many.c"), what, fmt.Sprint(n)}}
			f.start()
			before := members(t, f.pid)
			if len(before) != n {
				t.Fatalf("it has %d members", len(before))
			}
			begin := time.Now()
			f.save("killed")
			saved := time.Since(begin)
			begin = time.Now()
			f.shell("ckpt-read < img | ckpt-apply --detach")
			t.Logf("%d %s saved in %v, restored in %v", n, what, saved, time.Since(begin))
			after := members(t, f.pid)
			if fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("%d members before, %d after", len(before), len(after))
			}
			f.proceed()
			for range 2000 {
				if f.output() == "ready\npass\n" {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Errorf("it says:\n%s", f.output())
		})
	}
}

// members are the threads of a process and of its children.
func members(t testing.TB, pid int) (tids []int) {
	t.Helper()
	children, err := proc.Children(pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append([]int{pid}, children...) {
		all, err := proc.Threads(p)
		if err != nil {
			t.Fatal(err)
		}
		tids = append(tids, all...)
	}
	return tids
}

// BenchmarkMany saves and restores many threads, processes, open files and TCP connections.
func BenchmarkMany(b *testing.B) {
	for _, what := range []string{"threads", "processes", "descriptors", "connections"} {
		sizes := []int{10, 100, 1000}
		if what == "descriptors" || what == "connections" {
			sizes = []int{100, 1000, 10000}
		}
		for _, n := range sizes {
			b.Run(fmt.Sprintf("%s-%d", what, n), func(b *testing.B) { benchmarkMany(b, what, n) })
		}
	}
}

func benchmarkMany(b *testing.B, what string, n int) {
	dir := b.TempDir()
	pid := startMany(b, dir, what, n)
	img := filepath.Join(dir, "img")
	b.Run("save", func(b *testing.B) {
		measured(b, "", img, fmt.Sprintf("ckpt-collect %d", pid), "ckpt-dedup", "ckpt-write")
	})
	pids := members(b, pid)
	end := func() {
		for _, p := range pids {
			_ = unix.Kill(p, unix.SIGKILL)
		}
		for _, p := range pids {
			for !gone(p) {
				time.Sleep(time.Millisecond)
			}
		}
	}
	end()
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			in, err := os.Open(img)
			if err != nil {
				b.Fatal(err)
			}
			status, said := runPipeline(b, in, nil, "ckpt-read", "ckpt-apply --detach")
			b.StopTimer()
			in.Close()
			if status[0]+status[1] != 0 {
				b.Fatalf("exit statuses %v\n%s", status, said)
			}
			end()
			b.StartTimer()
		}
	})
}

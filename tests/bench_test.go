package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startMem starts a process that holds so much memory.
func startMem(b *testing.B, mib int) int {
	b.Helper()
	return startReady(b, b.TempDir(), buildC(b, "mem.c", "-O2"), fmt.Sprint(mib))
}

// startMany starts a program of many threads or processes.
func startMany(b *testing.B, dir, what string, n int) int {
	b.Helper()
	return startReady(b, dir, buildC(b, "many.c"), what, fmt.Sprint(n))
}

// startReady starts a program and waits until it has said something.
func startReady(b *testing.B, dir string, args ...string) int {
	b.Helper()
	out := filepath.Join(dir, "out")
	f, err := os.Create(out)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.SysProcAttr = dir, f, &unix.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	b.Cleanup(func() { _ = cmd.Process.Kill(); <-done })
	for {
		if text, _ := os.ReadFile(out); len(text) > 0 {
			return cmd.Process.Pid
		}
		time.Sleep(time.Millisecond)
	}
}

// measured runs a pipeline b.N times and reports the peak memory of its filters.
func measured(b *testing.B, in, out string, lines ...string) {
	b.Helper()
	peak := map[string]int64{}
	for b.Loop() {
		var inf, outf *os.File
		var err error
		if in != "" {
			if inf, err = os.Open(in); err != nil {
				b.Fatal(err)
			}
		}
		if out != "" {
			if outf, err = os.Create(out); err != nil {
				b.Fatal(err)
			}
		}
		p := startPipeline(b, inf, outf, lines...)
		for i, status := range p.wait() {
			if status != 0 {
				b.Fatalf("%s: exit status %d\n%s", lines[i], status, p.said())
			}
			name := strings.Fields(lines[i])[0]
			kib := p.cmds[i].ProcessState.SysUsage().(*syscall.Rusage).Maxrss
			peak[name] = max(peak[name], kib)
		}
		inf.Close()
		outf.Close()
	}
	for name, kib := range peak {
		if strings.HasPrefix(name, "ckpt-") {
			b.ReportMetric(float64(kib)/1024, strings.TrimPrefix(name, "ckpt-")+"-MiB")
		}
	}
}

// BenchmarkSave saves a process with 1 GiB of memory to different ends.
func BenchmarkSave(b *testing.B) {
	const mib = 1024
	pid := startMem(b, mib)
	collect := fmt.Sprintf("ckpt-collect %d", pid)
	img := filepath.Join(b.TempDir(), "img")
	for _, c := range []struct {
		name, out string
		lines     []string
	}{
		{"null", "/dev/null", []string{collect, "ckpt-dedup"}},
		{"null-copied", "/dev/null", []string{collect, "ckpt-dedup", "cat"}},
		{"stored-null", "/dev/null", []string{collect, "ckpt-dedup", "ckpt-write -l 0"}},
		{"stored", img, []string{collect, "ckpt-dedup", "ckpt-write -l 0"}},
		{"compressed-null", "/dev/null", []string{collect, "ckpt-dedup", "ckpt-write"}},
		{"compressed", img, []string{collect, "ckpt-dedup", "ckpt-write"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(mib << 20)
			measured(b, "", c.out, c.lines...)
		})
	}
}

// BenchmarkRestore restores a process with 1 GiB of memory.
func BenchmarkRestore(b *testing.B) {
	const mib = 1024
	for _, level := range []int{0, 1} {
		pid := startMem(b, mib)
		img := filepath.Join(b.TempDir(), "img")
		if status, said := runPipeline(b, nil, nil, fmt.Sprintf("ckpt-collect --leave killed %d", pid), "ckpt-dedup",
			fmt.Sprintf("ckpt-write -l %d -o %s", level, img)); status[0]+status[1]+status[2] != 0 {
			b.Fatalf("exit statuses %v\n%s", status, said)
		}
		b.Run(fmt.Sprintf("level-%d", level), func(b *testing.B) {
			b.SetBytes(mib << 20)
			restoreAndKill(b, img, pid)
		})
	}
}

// restoreAndKill measures restores; ending the process again is not counted.
func restoreAndKill(b *testing.B, img string, pid int) {
	b.Helper()
	var peak [2]int64
	for b.Loop() {
		in, err := os.Open(img)
		if err != nil {
			b.Fatal(err)
		}
		p := startPipeline(b, in, nil, "ckpt-read", "ckpt-apply --detach")
		status := p.wait()
		b.StopTimer()
		in.Close()
		if status[0]+status[1] != 0 {
			b.Fatalf("exit statuses %v\n%s", status, p.said())
		}
		for i := range peak {
			peak[i] = max(peak[i], p.cmds[i].ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
		}
		_ = unix.Kill(pid, unix.SIGKILL)
		for !gone(pid) {
			time.Sleep(time.Millisecond)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(peak[0])/1024, "read-MiB")
	b.ReportMetric(float64(peak[1])/1024, "apply-MiB")
}

// BenchmarkSmall saves and restores a process with 1 MiB of memory.
func BenchmarkSmall(b *testing.B) {
	pid := startMem(b, 1)
	img := filepath.Join(b.TempDir(), "img")
	b.Run("save", func(b *testing.B) {
		measured(b, "", img, fmt.Sprintf("ckpt-collect %d", pid), "ckpt-dedup", "ckpt-write")
	})
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		b.Fatal(err)
	}
	for !gone(pid) {
		time.Sleep(time.Millisecond)
	}
	b.Run("restore", func(b *testing.B) { restoreAndKill(b, img, pid) })
}

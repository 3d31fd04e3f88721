package tests

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// smallImage saves and kills the smallest program and returns its image and
// process id.
func smallImage(t *testing.T) ([]byte, int) {
	t.Helper()
	cmd := exec.Command(buildC(t, "tiny.c", "-nostdlib", "-static", "-Wl,--build-id=none"))
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	img := filepath.Join(t.TempDir(), "img")
	status, said := runPipeline(t, nil, nil, fmt.Sprintf("ckpt-collect --leave killed %d", cmd.Process.Pid), "ckpt-dedup", "ckpt-write -o "+img)
	if status[0]+status[1]+status[2] != 0 {
		_ = cmd.Process.Kill()
		t.Fatalf("exit statuses %v\n%s", status, said)
	}
	_ = cmd.Wait()
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return b, cmd.Process.Pid
}

// refuses tries to restore an image, which must be refused and leave no process.
func refuses(t *testing.T, dir string, img []byte, pid int, pipe bool) error {
	f, err := os.CreateTemp(dir, "img")
	if err != nil {
		return err
	}
	defer f.Close()
	defer os.Remove(f.Name())
	if _, err := f.Write(img); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	lines := []string{"ckpt-read", "ckpt-apply --detach"}
	if pipe {
		lines = append([]string{"cat"}, lines...)
	}
	status, said := runPipeline(t, f, nil, lines...)
	if got := status[len(status)-1]; got != 125 {
		_ = unix.Kill(pid, unix.SIGKILL)
		return fmt.Errorf("exit statuses %v\n%s", status, said)
	}
	if said == "" {
		return fmt.Errorf("refused without a word, exit statuses %v", status)
	}
	if !gone(pid) {
		return fmt.Errorf("refused, but pid %d is there", pid)
	}
	return nil
}

// TestDamagedImage flips a bit of every byte of a small image, and cuts it at
// every length: each is refused and no process is left. Then the image itself
// restores.
func TestDamagedImage(t *testing.T) {
	img, pid := smallImage(t)
	t.Logf("the image has %d bytes", len(img))
	dir := t.TempDir()
	damaged := func(i int, pipe bool) error {
		b := append([]byte(nil), img...)
		b[i] ^= 1 << (i % 8)
		if err := refuses(t, dir, b, pid, pipe); err != nil {
			return fmt.Errorf("bit %d of byte %d flipped: %w", i%8, i, err)
		}
		if err := refuses(t, dir, img[:i], pid, pipe); err != nil {
			return fmt.Errorf("cut to %d bytes: %w", i, err)
		}
		return nil
	}
	// In a file the damage is found before anything is made, so these can run in
	// parallel. From a pipe the process is made first, and only one at a time can
	// have its id.
	var g errgroup.Group
	g.SetLimit(3)
	for i := range img {
		g.Go(func() error { return damaged(i, false) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(img); i += 5 {
		if err := damaged(i, true); err != nil {
			t.Fatalf("through a pipe: %v", err)
		}
	}
	f := filepath.Join(dir, "whole")
	if err := os.WriteFile(f, img, 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if status, said := runPipeline(t, in, nil, "ckpt-read", "ckpt-apply --detach"); status[1] != 0 {
		t.Fatalf("the undamaged image: exit statuses %v\n%s", status, said)
	}
	defer unix.Kill(pid, unix.SIGKILL)
	if err := unharmed(pid); err != nil {
		t.Error(err)
	}
}

// TestHostileLengths gives every filter streams that promise more than they have.
func TestHostileLengths(t *testing.T) {
	preamble := append([]byte("\x89CKPT\r\n\x1a"), 1, 0, 0, 0, 0, 0, 0, 0)
	head := func(meta uint32, data uint64) []byte {
		b := append([]byte(nil), preamble...)
		b = binary.LittleEndian.AppendUint16(b, 1)
		b = binary.LittleEndian.AppendUint16(b, 1)
		b = binary.LittleEndian.AppendUint32(b, meta)
		b = binary.LittleEndian.AppendUint64(b, data)
		return binary.LittleEndian.AppendUint32(b, 0)
	}
	for name, input := range map[string][]byte{
		"meta of 4 GiB": head(1<<32-1, 0), "data of 16 EiB": head(10, 1<<64-1), "no magic": []byte("not a stream at all"),
		"later version": append([]byte("\x89CKPT\r\n\x1a\x63"), make([]byte, 40)...), "only a magic": preamble[:8],
	} {
		for _, prog := range []string{"ckpt-dedup", "ckpt-write", "ckpt-commit cat", "ckpt-read", "ckpt-apply", "ckpt-json decode"} {
			want := 4
			if prog == "ckpt-apply" || prog == "ckpt-commit cat" {
				want = 125
			}
			f := filepath.Join(t.TempDir(), "in")
			if err := os.WriteFile(f, input, 0o600); err != nil {
				t.Fatal(err)
			}
			in, err := os.Open(f)
			if err != nil {
				t.Fatal(err)
			}
			p := startPipeline(t, in, nil, prog)
			status := p.wait()
			in.Close()
			if status[0] != want || p.said() == "" {
				t.Errorf("%s of %s: exit status %d, want %d\n%s", name, prog, status[0], want, p.said())
			}
			if kib := p.cmds[0].ProcessState.SysUsage().(*syscall.Rusage).Maxrss; kib > 64<<10 {
				t.Errorf("%s of %s: %d KiB of memory", name, prog, kib)
			}
		}
	}
}

package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"ckpt/internal/golden"
	"ckpt/internal/image"
	"ckpt/internal/judge"
	"ckpt/stream"
)

// TestFrozen: images that each version wrote are read by these programs, go through
// ckpt-json and ckpt-write as they are, and could be restored.
func TestFrozen(t *testing.T) {
	const folder = "../stream/testdata/frozen"
	current := golden.Versions(t)[0]
	if file := filepath.Join(folder, current.Name, "everything.img"); golden.Make(file, current.Released) {
		freeze(t, file)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*", "*.img"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file), func(t *testing.T) {
			dir := t.TempDir()
			script := fmt.Sprintf("set -e; ckpt-read < %[1]s > %[2]s/1; ckpt-json decode --data < %[2]s/1 | ckpt-json encode | cmp - %[2]s/1; "+
				"ckpt-write < %[2]s/1 > %[2]s/img; ckpt-read < %[2]s/img | cmp - %[2]s/1", file, dir)
			if out, err := exec.Command("bash", "-o", "pipefail", "-c", script).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			f, err := os.Open(filepath.Join(dir, "1"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			m, _, err := judge.Read(stream.NewReader(f), nil)
			if err == nil {
				err = judge.OnPaper(m)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// freeze makes an image to keep.
func freeze(t *testing.T, file string) {
	dir := "/tmp/frozen"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	in, err := os.Open(saveEverything(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	img := image.NewReader(in, image.ReaderOptions{})
	defer img.Close()
	cmd := exec.Command("ckpt-write", "-l", "9", "-o", file)
	out, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := stream.Pump{Reader: stream.NewReader(img), Writer: stream.NewWriter(out)}
	p.Header = func(rec *stream.Record) error { return rec.Set(map[string]any{"host": []byte("host")}) }
	if err := errors.Join(p.Run(context.Background()), out.Close(), cmd.Wait()); err != nil {
		t.Fatal(err)
	}
}

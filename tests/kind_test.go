package tests

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestNewKind: a kind of open file with data of its own, a peer and a late step
// is one file and one row, with its records in package record. It travels through
// a save and a restore in tools that are otherwise built as they are.
func TestNewKind(t *testing.T) {
	dir := t.TempDir()
	withKind(t, dir)
	f := &feature{t: t, args: []string{buildC(t, "dummy.c")}}
	f.start()
	pid := strconv.Itoa(f.pid)
	out, err := exec.Command("ckpt-collect", "--dry-run", pid).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is a fanotify, which can't be saved") {
		t.Errorf("without the kind: %v, %s", err, out)
	}
	f.shell("PATH=" + dir + ":$PATH; ckpt-collect --leave killed " + pid + " | ckpt-dedup | ckpt-write -o img")
	f.shell("PATH=" + dir + ":$PATH; ckpt-read < img | ckpt-json decode > img.json; grep -c '\"DUMMY\"' img.json | grep -qx 2; grep -c '\"DUMMYDATA\"' img.json | grep -qx 2")
	apply := exec.Command("bash", "-c", "set -o pipefail; PATH="+dir+":$PATH; ckpt-read < img | ckpt-apply")
	apply.Dir = f.dir
	var said bytes.Buffer
	apply.Stdout, apply.Stderr = &said, &said
	if err := apply.Start(); err != nil {
		t.Fatal(err)
	}
	f.proceed()
	if err := apply.Wait(); err != nil || !strings.Contains(f.output(), "pass") {
		t.Errorf("%v\n%s%s", err, said.String(), f.output())
	}
}

// withKind builds the tools with the dummy kind into dir.
func withKind(t *testing.T, dir string) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	const behindLast = "),\n}"
	replace := map[string]string{}
	edit := func(file, old, now string) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Count(b, []byte(old)) != 1 {
			t.Fatalf("%s: %q is not there once", file, old)
		}
		to := filepath.Join(dir, strings.ReplaceAll(file, "/", "-"))
		if err := os.WriteFile(to, bytes.Replace(b, []byte(old), []byte(now), 1), 0o644); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(root, file)] = to
	}
	edit("internal/files/kind.go", "\tmemfdKind,\n", "\tmemfdKind,\n\tdummyKind,\n")
	edit("stream/record/types.go", behindLast, strings.TrimSuffix(behindLast, "}")+
		"\trow[Dummy](v01, TypeDummy, \"DUMMY\", Critical|Shareable),\n\trow[DummyData](v01, TypeDummyData, \"DUMMYDATA\", Critical|Bulk),\n}")
	replace[filepath.Join(root, "internal/files/dummy.go")] = filepath.Join(root, "tests/testdata/kind/dummy.go.txt")
	replace[filepath.Join(root, "stream/record/dummy.go")] = filepath.Join(root, "tests/testdata/kind/record.go.txt")
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o644); err != nil {
		t.Fatal(err)
	}
	build := exec.Command(filepath.Join(goDir, "go"), "build", "-overlay", list, "-o", dir, "ckpt/cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

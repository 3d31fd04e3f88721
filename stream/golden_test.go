package stream

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var update = flag.Bool("update", false, "write the files in testdata that this makes")

// golden compares a file with what its test makes. With -update it is written,
// but for one that is of a released version of the format: that stays what it is.
func golden(t *testing.T, file string, want []byte, v Version) {
	t.Helper()
	if *update {
		if err := rewrite(file, want, released(t, v)); err != nil {
			t.Error(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what this test makes (run with -update): %v", file, err)
	}
}

// rewrite writes a file. One that is there and frozen does not change.
func rewrite(file string, want []byte, frozen bool) error {
	switch got, err := os.ReadFile(file); {
	case err == nil && bytes.Equal(got, want):
		return nil
	case err == nil && frozen:
		return fmt.Errorf("%s is of a released version of the format and must stay as it is: whatever reads it has to go on reading it", file)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, want, 0o644))
}

// changelog has a heading for each version, "## 0.1" or "## 0.2, not released".
var changelog = regexp.MustCompile(`(?m)^## (\d+\.\d+)(, not released)?$`)

// released reports whether a version of the format is, by CHANGELOG.md.
func released(t *testing.T, v Version) bool {
	t.Helper()
	text, err := os.ReadFile("../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range changelog.FindAllStringSubmatch(string(text), -1) {
		if m[1] == v.String() {
			return m[2] == ""
		}
	}
	t.Fatalf("CHANGELOG.md says nothing of version %v", v)
	return false
}

// TestReleasedStays: what is of a released version gains siblings and is never
// changed.
func TestReleasedStays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "0.1", "a")
	for _, step := range []struct {
		text   string
		frozen bool
		want   string
	}{
		{"new", true, "new"}, {"changed", true, "new"}, {"new", true, "new"}, {"changed", false, "changed"},
	} {
		err := rewrite(file, []byte(step.text), step.frozen)
		if got, rerr := os.ReadFile(file); rerr != nil || string(got) != step.want || (err == nil) != (step.text == step.want) {
			t.Errorf("%+v: %q, %v, %v", step, got, err, rerr)
		}
	}
}

// TestChangelog: the versions stand there in order, the latest first, and this
// one is among them.
func TestChangelog(t *testing.T) {
	text, err := os.ReadFile("../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	all := changelog.FindAllStringSubmatch(string(text), -1)
	if len(all) == 0 || all[0][1] != current.String() {
		t.Fatalf("the first version of CHANGELOG.md is not %v: %v", current, all)
	}
	for i, m := range all[1:] {
		if m[2] != "" {
			t.Errorf("%s comes before %s and is not released", m[1], all[i][1])
		}
	}
}

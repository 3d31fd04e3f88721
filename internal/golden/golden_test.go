package golden

import (
	"os"
	"path/filepath"
	"testing"
)

// TestReleasedStays: what is of a released version is made, and then never
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

// TestVersions: only the first of CHANGELOG.md may be one that is not released.
func TestVersions(t *testing.T) {
	all := Versions(t)
	if len(all) == 0 {
		t.Fatal("CHANGELOG.md has no version")
	}
	for _, v := range all[1:] {
		if !v.Released {
			t.Errorf("version %s has a later one and is not released", v.Name)
		}
	}
}

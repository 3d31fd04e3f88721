package stream

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"ckpt/internal/golden"
)

// TestChangelog: the version of CHANGELOG.md that is the latest is this one, and so
// is that of the specification.
func TestChangelog(t *testing.T) {
	if all := golden.Versions(t); len(all) == 0 || all[0].Name != current.String() {
		t.Errorf("the first version of CHANGELOG.md is not %v: %v", current, all)
	}
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for at, what := range map[string]string{" 8  2": fmt.Sprintf("major version, %d", VersionMajor), "10  2": fmt.Sprintf("minor version, %d", VersionMinor)} {
		if line := "//	" + at + "  " + what + "\n"; !strings.Contains(string(doc), line) {
			t.Errorf("doc.go lacks the line %q", line)
		}
	}
}

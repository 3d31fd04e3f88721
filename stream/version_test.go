package stream

import (
	"testing"

	"ckpt/internal/golden"
)

// TestChangelog: the version of CHANGELOG.md that is the latest is this one.
func TestChangelog(t *testing.T) {
	if all := golden.Versions(t); len(all) == 0 || all[0].Name != current.String() {
		t.Errorf("the first version of CHANGELOG.md is not %v: %v", current, all)
	}
}

package task

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPIDsLeft(t *testing.T) {
	for name, c := range map[string]struct {
		max, current string
		left         int64
		ok           bool
	}{
		"some":         {"100\n", "40\n", 60, true},
		"more than it": {"10\n", "40\n", 0, true},
		"any":          {"max\n", "40\n", 0, false},
		"no such file": {"", "", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{"pids.max": c.max, "pids.current": c.current} {
				if text == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if left, ok := pidsLeft(dir); left != c.left || ok != c.ok {
				t.Errorf("%d, %v", left, ok)
			}
		})
	}
	if left, group, err := PIDsLeft(); err != nil || left < 0 || group == "" && left != 0 {
		t.Errorf("ours: %d by %q, %v", left, group, err)
	}
}

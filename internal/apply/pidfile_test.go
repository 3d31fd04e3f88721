package apply

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestPIDFileNowhere: the message names the file that was asked for, and no other.
func TestPIDFileNowhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no", "pid")
	_, err := writePIDFile(path, 1)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path+": ") || strings.Contains(err.Error(), ".ckpt-pid") {
		t.Error(err)
	}
}

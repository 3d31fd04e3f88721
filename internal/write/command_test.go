package write

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ckpt/internal/cli"
	"ckpt/stream"
	"ckpt/stream/record"
)

// The test binary, run again with this set, is ckpt-write.
const commandEnv = "CKPT_TEST_WRITE"

func TestMain(m *testing.M) {
	if os.Getenv(commandEnv) != "" {
		os.Exit(cli.Main(&Command, os.Args))
	}
	os.Exit(m.Run())
}

// TestCommand: exit statuses and what is said.
func TestCommand(t *testing.T) {
	img := filepath.Join(t.TempDir(), "img")
	good := func() *os.File { return input(t, record.StageShared, nil, whole) }
	for _, c := range []struct {
		name   string
		in     *os.File
		args   []string
		status int
		says   string
	}{
		{"raw", input(t, record.StageRaw, nil, whole), []string{"-o", img}, cli.StatusInput, "hint: put ckpt-dedup before it"},
		{"cut", input(t, record.StageShared, nil, func(w *stream.Writer) { _ = w.Flush() }), []string{"-o", img}, cli.StatusInput, "ends before its END"},
		{"level 77", good(), []string{"--level", "77"}, cli.StatusUsage, "error: "},
		{"into a folder", good(), []string{"-o", t.TempDir()}, cli.StatusFailed, "is not a regular file"},
		{"good", good(), []string{"-v", "-l", "3", "-T", "1", "-o", img}, 0, "bytes of stream in an image of"},
	} {
		if _, err := os.Lstat(img); err == nil {
			t.Errorf("before %s there is an image", c.name)
		}
		cmd := exec.Command("/proc/self/exe", c.args...)
		cmd.Env = append(os.Environ(), commandEnv+"=1")
		var out, said bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, &out, &said
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != c.status || !strings.Contains(said.String(), c.says) || out.Len() > 0 {
			t.Errorf("%s: status %d, not %d, %d bytes; it says %s", c.name, got, c.status, out.Len(), said.String())
		}
	}
	unpacked(t, img)
}

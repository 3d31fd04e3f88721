package read

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"ckpt/internal/cli"
)

// The test binary, run again with this set, is ckpt-read.
const commandEnv = "CKPT_TEST_READ"

func TestMain(m *testing.M) {
	if os.Getenv(commandEnv) != "" {
		os.Exit(cli.Main(&Command, os.Args))
	}
	os.Exit(m.Run())
}

// TestCommand: exit statuses and what is said.
func TestCommand(t *testing.T) {
	text := sample(t, 100_000)
	img := packed(t, text)
	for name, c := range map[string]struct {
		in     []byte
		args   []string
		status int
		says   string
	}{
		"good":             {img, []string{"-v"}, 0, "bytes verified"},
		"cut":              {img[:len(img)-1], nil, cli.StatusInput, "error: the image is incomplete"},
		"a stream":         {text, nil, cli.StatusInput, "hint: a stream needs no ckpt-read"},
		"nothing":          {nil, nil, cli.StatusInput, "error: "},
		"too many threads": {img, []string{"-T", "100000"}, cli.StatusUsage, "error: "},
		"no such option":   {img, []string{"--no-such"}, cli.StatusUsage, "no-such"},
	} {
		cmd := exec.Command("/proc/self/exe", c.args...)
		cmd.Env = append(os.Environ(), commandEnv+"=1")
		in := input(t, c.in, false, "")
		var out, said bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &said
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		in.Close()
		if got := cmd.ProcessState.ExitCode(); got != c.status || !strings.Contains(said.String(), c.says) {
			t.Errorf("%s: status %d, not %d; it says %s", name, got, c.status, said.String())
		}
		if good := bytes.Equal(out.Bytes(), text); good != (c.status == 0) {
			t.Errorf("%s: %d bytes of stream", name, out.Len())
		}
	}
}

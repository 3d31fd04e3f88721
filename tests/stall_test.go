package tests

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"ckpt/internal/hold"
	"ckpt/stream"
	"ckpt/stream/record"
)

// TestSilentHolder: one filter takes the hold and then stays silent, another keeps
// saying that it is alive. Because of the first one the target is let run on.
func TestSilentHolder(t *testing.T) {
	t.Parallel()
	w := startWorker(t, t.TempDir())
	for _, alive := range []bool{false, true} {
		r, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		cmd := exec.Command("ckpt-collect", "--stall-timeout", "3s", "--max-freeze", "6s", fmt.Sprint(w.pid()))
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = out, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		out.Close()
		in := stream.NewReader(r)
		holder := takeHold(t, in)
		if alive {
			holder.InputRead()
			holder.Beat(r)
		}
		for err == nil {
			_, err = in.Next()
		}
		_ = cmd.Wait()
		holder.Close()
		want := fmt.Sprintf(`nothing has moved for [0-9.]+s while it stood still, waiting for ckpt-silent \(pid %d\)`, os.Getpid())
		if alive {
			want = "it stood still for 6s, the longest that was allowed"
		}
		if cmd.ProcessState.ExitCode() != 1 || strings.Count(said.String(), "error:") != 1 || !regexp.MustCompile(want).MatchString(said.String()) {
			t.Errorf("exit status %d, want 1 and %q:\n%s", cmd.ProcessState.ExitCode(), want, said.String())
		}
		if err := unharmed(w.pid()); err != nil {
			t.Error(err)
		}
	}
}

// takeHold takes the hold that a stream's first record names.
func takeHold(t *testing.T, in *stream.Reader) *hold.Holder {
	t.Helper()
	first, err := in.Next()
	if err != nil {
		t.Fatal(err)
	}
	var h record.Header
	if err := first.Decode(&h); err != nil {
		t.Fatal(err)
	}
	holder, err := hold.Take(*hold.RefOf(&h), "silent", hold.Data)
	if err != nil {
		t.Fatal(err)
	}
	return holder
}

package commit

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"ckpt/internal/cli"
	"ckpt/internal/hold"
	"ckpt/internal/image"
	"ckpt/internal/testkit"
	"ckpt/stream"
	"ckpt/stream/record"
)

// The test binary, run again with this set, is ckpt-commit.
const commandEnv = "CKPT_TEST_COMMIT"

func TestMain(m *testing.M) {
	if os.Getenv(commandEnv) != "" {
		os.Exit(cli.Main(&Command, os.Args))
	}
	if script := os.Getenv(otherEnv); script != "" {
		os.Exit(other(script))
	}
	os.Exit(testkit.WithOwnFolder("/run/ckpt", m.Run))
}

// command is ckpt-commit as a process to be.
func command(in *os.File, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), commandEnv+"=1", "GORACE=atexit_sleep_ms=0")
	cmd.Stdin = in
	return cmd
}

// text is a stream of a stage, with data, and perhaps a hold.
func text(t testing.TB, stage string, h *hold.Hold, end func(w *stream.Writer)) []byte {
	t.Helper()
	var b bytes.Buffer
	w := stream.NewWriter(&b)
	head := record.Header{Stage: stage, Leave: record.LeaveKilled}
	if h != nil {
		ref := h.Ref()
		head.Checkpoint = ref.Checkpoint
		head.Hold = &record.Hold{PID: ref.PID, StartTime: ref.StartTime, FD: ref.FD, BootID: ref.BootID, Mark: ref.Mark}
	}
	testkit.Check(t, w.Add(record.TypeHeader, &head))
	testkit.Check(t, w.Add(record.TypeReg, &record.Reg{Object: record.Object{Objref: 1}}))
	for i := range 3 {
		rec, err := stream.New(record.TypeContent, &record.Content{})
		testkit.Check(t, err)
		rec.DataLen = 1 << 20
		testkit.Check(t, w.Write(rec, bytes.NewReader(bytes.Repeat([]byte{byte(i + 1)}, 1<<20))))
	}
	end(w)
	return b.Bytes()
}

func whole(w *stream.Writer) { _ = w.End(record.End{FrozenUS: 77}) }

// packed is the image of a stream.
func packed(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := image.NewWriter(&out, image.WriterOptions{Threads: 1})
	testkit.Check(t, err)
	_, err = w.Write(b)
	testkit.Check(t, err)
	testkit.Check(t, w.Close())
	return out.Bytes()
}

// piped is a pipe from which bytes come, and then the end.
func piped(t testing.TB, b []byte) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	testkit.Check(t, err)
	t.Cleanup(func() { r.Close() })
	go func() { _, _ = w.Write(b); w.Close() }()
	return r
}

// filed is a file with bytes in it.
func filed(t testing.TB, b []byte) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "in")
	testkit.Check(t, os.WriteFile(name, b, 0o600))
	f, err := os.Open(name)
	testkit.Check(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func newHold(t testing.TB) *hold.Hold {
	t.Helper()
	h, err := hold.New("00112233445566778899aabbccddeeff")
	testkit.Check(t, err)
	t.Cleanup(func() { h.Close() })
	return h
}

// outcome is what a hold was told.
func outcome(t testing.TB, h *hold.Hold) hold.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	got, err := h.Wait(ctx, hold.WaitOptions{NeedCommit: true})
	testkit.Check(t, err)
	return got
}

// lines is a pipe on which a program of a test speaks.
func lines(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	testkit.Check(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// says waits for a line.
func says(t testing.TB, r *os.File, want string) {
	t.Helper()
	_ = r.SetReadDeadline(time.Now().Add(time.Minute))
	b := make([]byte, len(want)+1)
	if _, err := io.ReadFull(r, b); string(b) != want+"\n" {
		t.Fatalf("%q, %v, not %q", b, err, want)
	}
}

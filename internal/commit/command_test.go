package commit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/testkit"
	"ckpt/stream"
	"ckpt/stream/record"
)

// ran runs ckpt-commit to its end.
func ran(t *testing.T, cmd *exec.Cmd) (status int, out, said string) {
	t.Helper()
	var o, s bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &s
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), o.String(), s.String()
}

// TestCommand: exit statuses and what is said.
func TestCommand(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		name = filepath.Join(dir, name)
		testkit.Check(t, os.WriteFile(name, []byte(content), mode))
		return name
	}
	plain := file("plain", "text", 0o644)
	orphan := file("orphan", "#!/no/such/interpreter\n", 0o755)
	nothing := file("nothing", "not a program\n", 0o755)
	good := text(t, record.StageShared, nil, whole)
	for _, c := range []struct {
		in     []byte
		args   []string
		status int
		out    string
		says   string
	}{
		{good, []string{"sh", "-c", "cat >/dev/null; echo done"}, 0, "done\n", ""},
		{good, []string{"sh", "-c", "cat >/dev/null; echo \"$@\" >&2", "sh", "-v", "--", "--help"}, 0, "", "-v -- --help\n"},
		{good, []string{"-v", "sh", "-c", "cat >/dev/null"}, 0, "", "bytes of it, and ended well\n"},
		{good, []string{"--", "wc", "-c"}, 0, fmt.Sprintln(len(good)), ""},
		{good, []string{"sh", "-c", "cat >/dev/null; exit 9"}, 9, "", "ckpt-commit: error: pid "},
		{good, []string{"sh", "-c", "cat >/dev/null; kill -SEGV $$"}, 139, "", "(sh) was ended by SIGSEGV\n"},
		{good, []string{"true"}, 125, "", "(true) ended with exit status 0 before it had read everything"},
		{good, []string{"no-such-program"}, 127, "", "ckpt-commit: error: no-such-program can't be run: executable file not found in $PATH\n"},
		{good, []string{"/no/such"}, 127, "", "ckpt-commit: error: /no/such can't be run: no such file or directory\n"},
		{good, []string{orphan}, 127, "", "can't be run: no such file or directory\n"},
		{good, []string{plain}, 126, "", "can't be run: permission denied\n"},
		{good, []string{dir}, 126, "", "can't be run: is a directory\n"},
		{good, []string{nothing}, 126, "", "can't be run: exec format error\n"},
		{good, nil, 2, "", "COMMAND [ARG...] is missing"},
		{good, []string{"--bogus", "cat"}, 2, "", "there is no option --bogus"},
		{text(t, record.StageRaw, nil, whole), []string{"cat"}, 125, "", "hint: put ckpt-dedup before it"},
		{[]byte("age"), []string{"cat"}, 125, "", "hint: what encrypts"},
		{good[:len(good)-1], []string{"sh", "-c", "cat >/dev/null"}, 125, "", "ends before its END"},
		{text(t, record.StageShared, nil, func(w *stream.Writer) { w.Abort("ckpt-x", errors.New("a reason")) }), []string{"sh", "-c", "cat >/dev/null"}, 125, "", ""},
	} {
		status, out, said := ran(t, command(piped(t, c.in), c.args...))
		if status != c.status || out != c.out || !strings.Contains(said, c.says) || c.says == "" && said != "" {
			t.Errorf("%q: status %d, not %d; %q, not %q; it says %s", c.args, status, c.status, out, c.out, said)
		}
	}
}

// TestClean: the program has no descriptor of ours but its standard input, and signals
// do with it what they would have done without us.
func TestClean(t *testing.T) {
	const script = "ls /proc/self/fd; grep -E '^Sig[PBIC]|^ShdPnd' /proc/self/status; ulimit -n"
	good := text(t, record.StageShared, newHold(t), whole)
	for _, before := range []string{"", "trap '' HUP INT; "} {
		direct := exec.Command("sh", "-c", before+"exec sh -c \"$0\"", script)
		direct.Stdin = piped(t, good)
		want, err := direct.Output()
		testkit.Check(t, err)
		self, err := os.Executable()
		testkit.Check(t, err)
		cmd := command(piped(t, good))
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", before + "exec \"$0\" sh -c \"$1\"", self, script + "; cat >/dev/null"}
		if status, out, said := ran(t, cmd); status != 0 || out != string(want) {
			t.Errorf("status %d, %s\n%s\nnot\n%s", status, said, out, want)
		}
	}
}

// TestSignals: a signal that ends ckpt-commit, at any moment, is a failure of it, and
// ends the program.
func TestSignals(t *testing.T) {
	for name, script := range map[string]string{
		"at work":    "echo $$ ready; exec sleep 1000", // and ckpt-commit has more for it
		"at the end": "cat >/dev/null; echo $$ ready; exec sleep 1000",
		"trapped":    "trap 'kill $!; exit 0' TERM; cat >/dev/null; sleep 1000 & echo $$ ready; wait $!",
	} {
		for sig, status := range map[unix.Signal]int{unix.SIGINT: 130, unix.SIGTERM: 143, unix.SIGHUP: 129, unix.SIGKILL: -1} {
			t.Run(name+"/"+unix.SignalName(sig), func(t *testing.T) {
				h := newHold(t)
				r, w := lines(t)
				cmd := command(piped(t, text(t, record.StageShared, h, whole)), "sh", "-c", script)
				cmd.Stdout = w
				testkit.Check(t, cmd.Start())
				w.Close()
				var pid int
				_, err := fmt.Fscanf(r, "%d ready\n", &pid)
				testkit.Check(t, err)
				testkit.Check(t, cmd.Process.Signal(sig))
				_ = cmd.Wait()
				if got := cmd.ProcessState.ExitCode(); got != status {
					t.Errorf("status %d, not %d", got, status)
				}
				if out := outcome(t, h); out.Committed || len(out.Failures) != 1 {
					t.Errorf("%+v", out)
				}
				testkit.Soon(t, "the program to end", func() bool { return testkit.IsZombie(pid) })
			})
		}
	}
}

// TestMemory: however much passes, it takes no more memory.
func TestMemory(t *testing.T) {
	const most = 64 << 10 // KiB
	r, w, err := os.Pipe()
	testkit.Check(t, err)
	defer r.Close()
	go func() {
		defer w.Close()
		sw := stream.NewWriter(w)
		_ = sw.Add(record.TypeHeader, &record.Header{Stage: record.StageShared})
		chunk := make([]byte, 1<<20)
		for range 512 {
			rec, _ := stream.New(record.TypeContent, &record.Content{})
			rec.DataLen = int64(len(chunk))
			_ = sw.Write(rec, bytes.NewReader(chunk))
		}
		_ = sw.End(record.End{})
	}()
	status, out, said := ran(t, command(r, "sh", "-c", "cat >/dev/null; awk '/^VmHWM/ {print $2}' /proc/$PPID/status"))
	var kib int
	if _, err := fmt.Sscan(out, &kib); err != nil || status != 0 || kib > most {
		t.Errorf("status %d, %s, %s KiB of memory", status, said, out)
	}
}

package cli

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// started is a command that runs and has said that it is ready.
type started struct {
	*exec.Cmd
	out    *bufio.Reader
	stderr bytes.Buffer
}

func start(t *testing.T, cmd *exec.Cmd) *started {
	t.Helper()
	s := &started{Cmd: cmd}
	s.Stderr = &s.stderr
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Process.Kill() })
	s.out = bufio.NewReader(out)
	s.says(t, "ready\n")
	return s
}

// says waits for a line of the command's.
func (s *started) says(t *testing.T, want string) {
	t.Helper()
	defer time.AfterFunc(patience, func() { _ = s.Process.Kill() }).Stop()
	if line, err := s.out.ReadString('\n'); line != want {
		t.Fatalf("%q, %v, not %q", line, err, want)
	}
}

// signal sends one, or several to a command that says so when it was told, and
// returns how the command ended.
func (s *started) signal(t *testing.T, signals ...unix.Signal) result {
	t.Helper()
	for i, sig := range signals {
		if i > 0 {
			s.says(t, "told\n")
		}
		if err := s.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	defer time.AfterFunc(patience, func() { _ = s.Process.Kill() }).Stop()
	return result{exitOf(t, s.Wait()), "", s.stderr.String()}
}

func TestSignals(t *testing.T) {
	for sig, status := range map[unix.Signal]int{unix.SIGINT: 130, unix.SIGTERM: 143, unix.SIGHUP: 129} {
		if got := start(t, command("try", "wait")).signal(t, sig); got != (result{status, "", said("note: clean")}) {
			t.Errorf("%v: %+v", sig, got)
		}
	}
}

// That the target was lost outweighs the signal, and is told.
func TestSignalAndLoss(t *testing.T) {
	if got := start(t, command("try", "lost")).signal(t, unix.SIGINT); got != (result{StatusChanged, "", said("error: the target is lost")}) {
		t.Errorf("%+v", got)
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	s := start(t, command("try", "stuck"))
	begin := time.Now()
	if got := s.signal(t, unix.SIGTERM, unix.SIGINT); got.status != 130 {
		t.Errorf("%+v", got)
	}
	if d := time.Since(begin); d >= grace {
		t.Errorf("took %v", d)
	}
}

func TestStuckCommandEnds(t *testing.T) {
	if got := start(t, command("try", "stuck")).signal(t, unix.SIGTERM); got.status != 143 {
		t.Errorf("%+v", got)
	}
}

// Released, a signal does what it does to any program.
func TestReleaseSignals(t *testing.T) {
	if got := start(t, command("try", "released")).signal(t, unix.SIGTERM); got.status != -1 {
		t.Errorf("%+v", got)
	}
}

// nohup(1) and shells have background programs ignore signals.
func TestIgnoredSignalStaysIgnored(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := command("try")
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", `trap "" HUP; exec "$0" wait`, self}
	s := start(t, cmd)
	if status, err := proc.ReadStatus(s.Process.Pid); err != nil || status.SigIgn&(1<<(unix.SIGHUP-1)) == 0 {
		t.Errorf("it ignores signals %x, %v", status.SigIgn, err)
	}
	if err := s.Process.Signal(unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if got := s.signal(t, unix.SIGTERM); got.status != 143 {
		t.Errorf("%+v", got)
	}
}

// The reader is gone: no death before the cleanup, and no word about it, for
// the reader has told why.
func TestBrokenPipe(t *testing.T) {
	cmd := command("try", "pipe")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, out, 1000); err != nil {
		t.Fatal(err)
	}
	out.Close()
	if status := exitOf(t, cmd.Wait()); status != 141 || stderr.String() != said("note: clean") {
		t.Errorf("status %d, stderr %s", status, stderr.String())
	}
}

func TestTerminalRefused(t *testing.T) {
	tty := openTerminal(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	in := "error: /dev/stdin is a terminal, and a stream is not text"
	out := "error: /dev/stdout is a terminal, and a stream is not text"
	for _, c := range []struct {
		in, out *os.File
		want    result
	}{
		{file, file, result{0, "", ""}},
		{tty, file, result{2, "", said(in, "hint: use a pipe")}},
		{file, tty, result{2, "", said(out, "hint: use a pipe")}},
		{tty, tty, result{2, "", said(in, "hint: use a pipe", out)}},
	} {
		cmd := command("try", "tty")
		var stderr bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, c.out, &stderr
		if got := (result{exitOf(t, cmd.Run()), "", stderr.String()}); got != c.want {
			t.Errorf("%+v, want %+v", got, c.want)
		}
	}
}

// openTerminal returns the slave of a new pseudoterminal, see pts(4).
func openTerminal(t *testing.T) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { tty.Close() })
	return tty
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"é a'b\"c\\":   "é a'b\"c\\",
		"\x00\x1b\n\t": `\x00\x1b\n\t`,
		"\x9b\xff":     `\x9b\xff`,
		"\u009b\u202e": `\u009b\u202e`,
		"\ufffd":       "\ufffd",
	} {
		if got := printable(in); got != want || strings.ContainsAny(got, "\n\x1b") {
			t.Errorf("%q is printed as %q, want %q", in, got, want)
		}
	}
}

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/stream"
)

// The test binary, run again with this set, is a command of the package: "try",
// "own", whose failures exit with 125, "verb", whose first operand is one, or
// "program", whose operands are a command line.
const commandEnv = "CKPT_TEST_CLI"

func TestMain(m *testing.M) {
	if kind := os.Getenv(commandEnv); kind != "" {
		c := tryCommand
		c.Own125, c.Verb, c.Program = kind == "own", kind == "verb", kind == "program"
		os.Exit(Main(&c, os.Args))
	}
	heedSignals()
	os.Exit(m.Run())
}

// heedSignals undoes what a nohup(1) around the tests, or a shell that runs them
// in the background, has done: programs under test must not ignore signals. One that
// is caught here has its default action in programs that are started.
func heedSignals() {
	for _, s := range []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
}

var tryCommand = Command{
	Name: "ckpt-try", Args: "WHAT [DETAIL]", MinArgs: 1, MaxArgs: 2,
	Summary: "try out what commands share",
	Setup: func() ([]Flag, func(context.Context, *Invocation) error) {
		o := tryOptions{leave: "running", number: 3, wait: time.Second, list: []string{"default"}}
		return []Flag{
			{Name: "leave", Aliases: []string{"l"}, Value: &o.leave, Arg: "STATE", OneOf: []string{"running", "stopped", "killed"}, Help: "one of three"},
			{Name: "text", Value: &o.text, Arg: "TEXT", Help: "any text"},
			{Name: "number", Aliases: []string{"n"}, Value: &o.number, Arg: "N", Help: "a number"},
			{Name: "wait", Value: &o.wait, Help: "a time"},
			{Name: "list", Aliases: []string{"L"}, Value: &o.list, Help: "a list"},
			{Name: "dry-run", Value: &o.dry, Help: "a switch"},
		}, o.run
	},
}

type tryOptions struct {
	leave, text string
	number      int
	wait        time.Duration
	list        []string
	dry         bool
}

func (o *tryOptions) run(ctx context.Context, inv *Invocation) error {
	inv.Log.Step("to try %s", inv.Args[0])
	lost := errors.New("fd 3 is lost")
	two := errors.Join(WithHint(errors.New("fd 4 is odd"), "close fd 4"), WithHint(errors.New("fd 5 is odd"), "close fd 5"))
	switch inv.Args[0] {
	case "done":
		return nil
	case "fail":
		return lost
	case "refuse":
		return WithHint(Exit(StatusRefused, two), "try later")
	case "wrapped":
		return fmt.Errorf("pid 7: %w", two)
	case "input":
		return StreamError(fmt.Errorf("the image: %w", stream.ErrTruncated))
	case "aborted":
		return errors.Join(StreamError(&stream.RecordError{Err: &stream.AbortError{}}))
	case "aborted-and":
		return errors.Join(Exit(StatusInput, nil), lost)
	case "changed":
		return errors.Join(Exit(StatusInput, stream.ErrCorrupt), Exit(StatusChanged, lost))
	case "name":
		inv.Log.Note("it is called %s", "a\nckpt-try: error: b\x1b[2J\u202e\xff")
		return nil
	case "show":
		_, err := fmt.Fprintf(inv.Stdout, "%s|%s|%d|%v|%q|%v|%q", o.leave, o.text, o.number, o.wait, o.list, o.dry, inv.Args[1:])
		return err
	case "program":
		return &Passthrough{Status: o.number}
	case "tty":
		const hint = "use a pipe"
		return errors.Join(RefuseTerminal(inv.Stdin, hint), RefuseTerminal(inv.Stdout, hint))
	}
	return o.slow(ctx, inv)
}

// slow is about signals. What it does before its end goes to stderr.
func (o *tryOptions) slow(ctx context.Context, inv *Invocation) error {
	switch inv.Args[0] {
	case "pipe": // writes until the reader is gone
		_, err := io.Copy(inv.Stdout, neverEnding{})
		inv.Log.Note("clean")
		return fmt.Errorf("write: %w", err)
	case "wait": // ends when told
		fmt.Fprintln(inv.Stdout, "ready")
		<-ctx.Done()
		inv.Log.Note("clean")
		return context.Cause(ctx)
	case "lost":
		fmt.Fprintln(inv.Stdout, "ready")
		<-ctx.Done()
		return Exit(StatusChanged, errors.New("the target is lost"))
	case "stuck": // is told to end, and does not
		fmt.Fprintln(inv.Stdout, "ready")
		<-ctx.Done()
		fmt.Fprintln(inv.Stdout, "told")
		time.Sleep(time.Minute)
	case "released":
		inv.ReleaseSignals()
		fmt.Fprintln(inv.Stdout, "ready")
		time.Sleep(time.Minute)
	}
	return errors.New("there is no such thing")
}

type neverEnding struct{}

func (neverEnding) Read(b []byte) (int, error) { return len(b), nil }

// result is how a command ended.
type result struct {
	status      int
	out, stderr string
}

// command returns the test's command as a process to be.
func command(kind string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), commandEnv+"="+kind, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// try runs the command to its end.
func try(t *testing.T, kind string, args ...string) result {
	t.Helper()
	cmd := command(kind, args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	return result{exitOf(t, cmd.Run()), out.String(), stderr.String()}
}

func exitOf(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if err == nil {
		return 0
	}
	if !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return exit.ExitCode() // -1 when a signal killed it
}

// said joins lines of stderr.
func said(lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString("ckpt-try: " + line + "\n")
	}
	return b.String()
}

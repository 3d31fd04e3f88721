// Package cli is what the commands share: flags, messages, exit statuses,
// signals. It alone knows the command line library.
package cli

import (
	"context"
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/stream"
)

// version is set by the linker, see the Makefile.
var version = ""

// Version returns the program's version.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// Command is one program.
type Command struct {
	Name    string
	Args    string // usage of the operands: "PID"; "" takes none
	Summary string
	MinArgs int
	MaxArgs int
	Verb    bool // the first operand is a verb, which options may follow
	Program bool // the operands are a program and its arguments, as many as there are
	// ForFile returns what to type instead of naming a file as an operand.
	ForFile func(file string) string
	// Own125: failures exit with 125, as those of timeout(1) and env(1) do,
	// because the command's status is that of the program it runs.
	Own125 bool
	// NoSuspend: SIGTSTP (^Z) does not stop the program but ends it.
	NoSuspend bool
	// Hidden reports whether this process is to stay as it is in proc(5): not even others of
	// its user may look into it.
	Hidden func() bool
	// Setup is called once and returns the flags, bound to the variables that
	// run uses.
	Setup func() (flags []Flag, run func(ctx context.Context, inv *Invocation) error)
}

// Invocation is one run of a command.
type Invocation struct {
	Args   []string
	Stdin  *os.File
	Stdout *os.File
	Log    *Log
	// ReleaseSignals stops this package from acting on signals.
	ReleaseSignals func()
}

// Main runs the command and returns its exit status.
func Main(c *Command, args []string) int {
	log := &Log{name: c.Name, w: os.Stderr}
	if c.Hidden == nil || !c.Hidden() {
		makeDumpable()
	}
	collectLess()
	ctx, release := watchSignals(c.NoSuspend)
	defer release()
	inv := &Invocation{Stdin: os.Stdin, Stdout: os.Stdout, Log: log, ReleaseSignals: release}
	err := c.parseAndRun(ctx, inv, args)
	if errors.Is(err, stream.ErrImage) {
		err = WithHint(err, "ckpt-read < img | "+strings.Join(append([]string{c.Name}, args[1:]...), " "))
	}
	if ctx.Err() != nil && err != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	return log.report(err, c.Own125)
}

// littleMemory is what a filter mostly has in use at the most.
const littleMemory = 64 << 20

// collectLess lets garbage grow to four times of what is in use before it is collected,
// as long as that is little, unless the user says otherwise (GOGC): the filters are
// short-lived, run at the same time, and a target waits for them.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
		watchMemory()
	}
}

// watchMemory goes back to Go's default when much is in use, which may be a stream's doing.
func watchMemory() {
	untilCollected := &struct{ _ [64]byte }{}
	runtime.AddCleanup(untilCollected, func(struct{}) {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		if metrics.Read(live); live[0].Value.Uint64() > littleMemory {
			debug.SetGCPercent(100)
			return
		}
		watchMemory()
	}, struct{}{})
}

// makeDumpable makes this process's files in proc(5) belong to its user, also if
// it got capabilities from its program file (setcap(8)): the filters find each other
// there. Processes with fewer capabilities still may not look into it, see ptrace(2).
func makeDumpable() {
	if unix.Getuid() == unix.Geteuid() && unix.Getgid() == unix.Getegid() {
		_ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	}
}

// Package cli is what the commands share: flags, messages, exit statuses,
// signals. It alone knows the command line library.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"
)

// version is set by the linker.
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

// Flag is one option of a command. Value is a pointer to a bool, string, int,
// []string or time.Duration that holds the default and gets the user's value.
type Flag struct {
	Name    string
	Aliases []string
	Value   any
	Help    string
	Arg     string   // what to call the value in the help: FILE, N, …
	OneOf   []string // the values allowed, for strings
}

// Command is one program.
type Command struct {
	Name    string
	Args    string // usage of the operands: "PID"; "" takes none
	Summary string
	MinArgs int
	MaxArgs int
	// Own: failures exit with 125, as for timeout(1) and env(1), for the
	// command's status is that of the program it runs.
	Own125 bool
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
	ctx, release := watchSignals()
	defer release()
	inv := &Invocation{Stdin: os.Stdin, Stdout: os.Stdout, Log: log, ReleaseSignals: release}
	err := c.parseAndRun(ctx, inv, args)
	if ctx.Err() != nil && err != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	return log.report(err, c.Own125)
}

// parseAndRun keeps the library to what it does well. As it comes it writes
// help to stdout, which is our pipe, for a usage error; ignores flags behind
// operands; takes an operand "help" for a command; and splits values at commas.
func (c *Command) parseAndRun(ctx context.Context, inv *Invocation, args []string) error {
	flags, run := c.Setup()
	var verbose, showVersion bool
	flags = append(flags,
		Flag{Name: "verbose", Aliases: []string{"v"}, Value: &verbose, Help: "say on stderr what is done"},
		Flag{Name: "version", Value: &showVersion, Help: "print the version and exit"})
	app := &cli.App{
		Name: c.Name, Usage: c.Summary, UsageText: strings.TrimSpace(c.Name + " [options] " + c.Args),
		HideHelpCommand: true, HideVersion: true, DisableSliceFlagSeparator: true,
		Writer: inv.Stdout, ErrWriter: io.Discard, ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:          func(_ *cli.Context, err error, _ bool) error { return c.usage("%v", err) },
		CustomAppHelpTemplate: helpTemplate,
	}
	for _, f := range flags {
		app.Flags = append(app.Flags, f.library())
	}
	app.Action = func(cc *cli.Context) error {
		for _, f := range flags {
			if err := f.take(cc); err != nil {
				return c.usage("%v", err)
			}
		}
		inv.Log.verbose, inv.Args = verbose, cc.Args().Slice()
		if showVersion {
			_, err := fmt.Fprintln(inv.Stdout, c.Name, Version())
			return err
		}
		if err := c.checkArgs(inv.Args); err != nil {
			return err
		}
		return run(ctx, inv)
	}
	return app.RunContext(ctx, args)
}

func (c *Command) checkArgs(args []string) error {
	for _, a := range args {
		if strings.HasPrefix(a, "-") && a != "-" {
			return c.usage("option %s stands behind an operand; options come first", a)
		}
	}
	switch {
	case len(args) < c.MinArgs:
		return c.usage("%s is missing", c.Args)
	case len(args) > c.MaxArgs:
		return c.usage("there is no use for %q", args[c.MaxArgs])
	}
	return nil
}

func (c *Command) usage(format string, args ...any) error {
	return WithHint(Exit(StatusUsage, fmt.Errorf(format, args...)), fmt.Sprintf("%s --help lists the options", c.Name))
}

const helpTemplate = `{{.Name}} - {{.Usage}}

Usage: {{.UsageText}}

Options:
{{range .VisibleFlags}}  {{.}}
{{end}}`

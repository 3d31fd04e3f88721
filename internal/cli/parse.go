package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// common are the options every command has.
type common struct{ verbose, version, help bool }

func (o *common) flags() []Flag {
	return []Flag{
		{Name: "verbose", Aliases: []string{"v"}, Value: &o.verbose, Help: "say on stderr what is done"},
		{Name: "version", Value: &o.version, Help: "print the version and exit"},
		{Name: "help", Aliases: []string{"h"}, Value: &o.help, Help: "print this and exit"},
	}
}

func (c *Command) parseAndRun(ctx context.Context, inv *Invocation, args []string) error {
	own, run := c.Setup()
	var o common
	flags := append(own, o.flags()...)
	help := c.help(flags) // now, while the values are the defaults
	operands, err := parse(ctx, c.Name, flags, args)
	if err == nil && c.Verb && len(operands) > 0 {
		// The library stops at the verb.
		var rest []string
		rest, err = parse(ctx, c.Name, flags, operands)
		operands = append(operands[:1], rest...)
	}
	if err != nil {
		return c.usage("%v", err)
	}
	inv.Log.verbose, inv.Args = o.verbose, operands
	switch {
	case o.help:
		_, err := io.WriteString(inv.Stdout, help)
		return err
	case o.version:
		_, err := fmt.Fprintln(inv.Stdout, c.Name, Version())
		return err
	}
	if err := c.checkArgs(operands); err != nil {
		return err
	}
	return run(ctx, inv)
}

// parse parses args with the library, stores the values in the flags and returns
// the operands. The library is kept to what it does well. By default it writes
// help to stdout, which is our pipe, for a usage error; takes an
// operand "help" for a command; splits values at commas and trims them; and
// lets an alias set a list twice.
func parse(ctx context.Context, name string, flags []Flag, args []string) (operands []string, err error) {
	cli.HelpFlag = nil // it looks for one, even a hidden one
	var bad error
	app := &cli.App{
		Name: name, HideHelp: true, HideHelpCommand: true, HideVersion: true, DisableSliceFlagSeparator: true,
		Writer: io.Discard, ErrWriter: io.Discard,
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			if bad == nil {
				bad = plain(err, flags)
			}
			return bad
		},
		Action: func(cc *cli.Context) error {
			operands = cc.Args().Slice()
			return nil
		},
	}
	for _, f := range flags {
		// One value under each of its names, which the library need not know
		// to be the same.
		v := &value{flag: f, bad: &bad}
		for _, name := range append([]string{f.Name}, f.Aliases...) {
			app.Flags = append(app.Flags, &cli.GenericFlag{Name: name, Value: v})
		}
	}
	err = app.RunContext(ctx, args)
	return operands, err
}

// plain turns the library's errors into ours.
func plain(err error, flags []Flag) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		if meant := nearest(name, flags); meant != "" {
			return fmt.Errorf("there is no option %s; did you mean --%s", dashed(name), meant)
		}
		return fmt.Errorf("there is no option %s", dashed(name))
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return fmt.Errorf("option %s needs a value", dashed(name))
	}
	return errors.New(text)
}

// nearest returns the long option that a misspelt name most likely stands for, or
// "".
func nearest(name string, flags []Flag) string {
	i := slices.IndexFunc(flags, func(f Flag) bool {
		return len(name) > 2 && (strings.HasPrefix(f.Name, name[:3]) || strings.Contains(f.Name, name))
	})
	if i < 0 {
		return ""
	}
	return flags[i].Name
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// checkArgs checks the operands. The library takes an option that follows an
// operand for an operand, too.
func (c *Command) checkArgs(args []string) error {
	for i, a := range args {
		if c.Program && i > 0 {
			return nil
		}
		if strings.HasPrefix(a, "-") {
			if i == 0 {
				return c.usage("%s is not an operand", a)
			}
			return c.usage("option %s stands behind an operand; options come first", a)
		}
	}
	switch {
	case len(args) < c.MinArgs:
		return c.usage("%s is missing", c.Args)
	case c.Program:
		return nil
	case len(args) > c.MaxArgs && c.ForFile != nil:
		return WithHint(Exit(StatusUsage, fmt.Errorf("there is no use for %q", args[c.MaxArgs])), c.ForFile(args[c.MaxArgs]))
	case len(args) > c.MaxArgs:
		return c.usage("there is no use for %q", args[c.MaxArgs])
	}
	return nil
}

func (c *Command) usage(format string, args ...any) error {
	return WithHint(Exit(StatusUsage, fmt.Errorf(format, args...)), fmt.Sprintf("%s --help lists the options", c.Name))
}

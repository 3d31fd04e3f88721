package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// library returns the flag as the library has it.
func (f *Flag) library() cli.Flag {
	help := f.Help
	if f.Arg != "" {
		help = "`" + f.Arg + "`: " + f.Help
	}
	switch v := f.Value.(type) {
	case *bool:
		return &cli.BoolFlag{Name: f.Name, Aliases: f.Aliases, Usage: f.Help, Value: *v, DisableDefaultText: true}
	case *string:
		return &cli.StringFlag{Name: f.Name, Aliases: f.Aliases, Usage: help, Value: *v}
	case *int:
		return &cli.IntFlag{Name: f.Name, Aliases: f.Aliases, Usage: help, Value: *v}
	case *time.Duration:
		return &cli.DurationFlag{Name: f.Name, Aliases: f.Aliases, Usage: help, Value: *v}
	case *[]string:
		return &cli.StringSliceFlag{Name: f.Name, Aliases: f.Aliases, Usage: help}
	}
	panic(fmt.Sprintf("flag --%s has a value of type %T", f.Name, f.Value))
}

// take stores what the user gave.
func (f *Flag) take(c *cli.Context) error {
	switch v := f.Value.(type) {
	case *bool:
		*v = c.Bool(f.Name)
	case *string:
		*v = c.String(f.Name)
		if len(f.OneOf) > 0 && !slices.Contains(f.OneOf, *v) {
			return fmt.Errorf("--%s %s: it takes %s", f.Name, *v, strings.Join(f.OneOf, ", "))
		}
	case *int:
		*v = c.Int(f.Name)
	case *time.Duration:
		if *v = c.Duration(f.Name); *v < 0 {
			return fmt.Errorf("--%s %v: a time can't be negative", f.Name, *v)
		}
	case *[]string:
		*v = c.StringSlice(f.Name)
	}
	return nil
}

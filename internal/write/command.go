package write

import (
	"context"
	"errors"
	"runtime"

	"ckpt/internal/cli"
	"ckpt/internal/image"
)

// Command is ckpt-write.
var Command = cli.Command{
	Name:    Tool,
	ForFile: func(file string) string { return "ckpt-write -o " + file },
	Summary: "write a stream as a compressed image",
	Setup: func() ([]cli.Flag, func(context.Context, *cli.Invocation) error) {
		o := Options{Level: image.DefaultLevel, Threads: min(runtime.NumCPU(), 4)}
		flags := []cli.Flag{
			{Name: "level", Aliases: []string{"l"}, Value: &o.Level, Arg: "N", Help: "compression level of zstd, 1 to 9; 0 stores"},
			{Name: "threads", Aliases: []string{"T"}, Value: &o.Threads, Arg: "N", Help: "how many threads compress"},
			{Name: "output", Aliases: []string{"o"}, Value: &o.Output, Arg: "FILE", Help: "write to a file, which appears complete or not at all"},
		}
		return flags, func(ctx context.Context, inv *cli.Invocation) error {
			if err := cli.RefuseTerminal(inv.Stdin, "ckpt-collect PID | ckpt-dedup | ckpt-write -o img"); err != nil {
				return err
			}
			if o.Output == "" {
				if err := cli.RefuseTerminal(inv.Stdout, "write to a file: ckpt-write -o img"); err != nil {
					return err
				}
			}
			if err := image.CheckOptions(o.Level, o.Threads); err != nil {
				return cli.Exit(cli.StatusUsage, err)
			}
			o.Step, o.Note = inv.Log.Step, inv.Log.Note
			err := Run(ctx, o, inv.Stdin, inv.Stdout)
			if errors.Is(err, ErrRaw) {
				return cli.WithHint(cli.Exit(cli.StatusInput, err), "put ckpt-dedup before it: ckpt-collect PID | ckpt-dedup | ckpt-write -o img")
			}
			return cli.StreamError(err)
		}
	},
}

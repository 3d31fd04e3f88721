package read

import (
	"context"
	"errors"
	"runtime"

	"ckpt/internal/cli"
	"ckpt/internal/image"
)

// Command is ckpt-read.
var Command = cli.Command{
	Name:    Tool,
	ForFile: func(file string) string { return "ckpt-read < " + file },
	Summary: "verify an image and turn it back into a stream",
	Setup: func() ([]cli.Flag, func(context.Context, *cli.Invocation) error) {
		o := Options{Threads: min(runtime.NumCPU(), 4)}
		flags := []cli.Flag{
			{Name: "threads", Aliases: []string{"T"}, Value: &o.Threads, Arg: "N", Help: "how many threads decompress"},
		}
		return flags, func(ctx context.Context, inv *cli.Invocation) error {
			if err := errors.Join(
				cli.RefuseTerminal(inv.Stdin, "ckpt-read < img"),
				cli.RefuseTerminal(inv.Stdout, "ckpt-read < img | ckpt-apply restores it, | ckpt-json decode shows it")); err != nil {
				return err
			}
			if err := image.CheckOptions(image.DefaultLevel, o.Threads); err != nil {
				return cli.Exit(cli.StatusUsage, err)
			}
			o.Step = inv.Log.Step
			return status(Run(ctx, o, inv.Stdin, inv.Stdout))
		}
	},
}

func status(err error) error {
	if errors.Is(err, image.ErrStream) {
		err = cli.WithHint(err, "a stream needs no ckpt-read; ckpt-write makes an image of it")
	}
	for _, kind := range []error{image.ErrForeign, image.ErrVersion, image.ErrTruncated, image.ErrCorrupt} {
		if errors.Is(err, kind) {
			return cli.Exit(cli.StatusInput, err)
		}
	}
	return cli.StreamError(err)
}

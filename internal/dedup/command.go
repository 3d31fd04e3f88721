package dedup

import (
	"context"
	"errors"

	"ckpt/internal/cli"
	"ckpt/internal/hold"
	"ckpt/internal/judge"
	"ckpt/internal/sorter"
)

// Command is ckpt-dedup.
var Command = cli.Command{
	Name:    Tool,
	Summary: "find which descriptors of a raw stream are the same kernel object",
	Setup: func() ([]cli.Flag, func(context.Context, *cli.Invocation) error) {
		return nil, func(ctx context.Context, inv *cli.Invocation) error {
			const hint = "ckpt-collect PID | ckpt-dedup | ckpt-write -o img"
			if err := errors.Join(cli.RefuseTerminal(inv.Stdin, hint), cli.RefuseTerminal(inv.Stdout, hint)); err != nil {
				return err
			}
			var refused *judge.Refused
			err := Run(ctx, Options{Note: inv.Log.Note, Step: inv.Log.Step}, inv.Stdin, inv.Stdout)
			switch {
			case errors.Is(err, hold.ErrGone):
				return cli.WithHint(cli.Exit(cli.StatusInput, err), "ckpt-dedup must read from the ckpt-collect that runs: "+hint)
			case errors.As(err, &refused):
				return cli.Exit(cli.StatusRefused, err)
			case errors.Is(err, sorter.ErrStage):
				return cli.Exit(cli.StatusInput, err)
			}
			return cli.StreamError(err)
		}
	},
}

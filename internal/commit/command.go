package commit

import (
	"context"
	"errors"

	"ckpt/internal/cli"
	"ckpt/internal/image"
	"ckpt/stream"
)

// Command is ckpt-commit.
var Command = cli.Command{
	Name:    Tool,
	Args:    "COMMAND [ARG...]",
	MinArgs: 1,
	Program: true,
	Own125:  true,
	Summary: "hold the target until a command has stored its stream or image",
	Setup: func() ([]cli.Flag, func(context.Context, *cli.Invocation) error) {
		return nil, func(ctx context.Context, inv *cli.Invocation) error {
			if err := cli.RefuseTerminal(inv.Stdin, "ckpt-collect PID | ckpt-dedup | ckpt-write | ckpt-commit COMMAND"); err != nil {
				return err
			}
			program, err := Find(inv.Args, inv.Stdout)
			if err == nil {
				err = Run(ctx, Options{Program: program, Step: inv.Log.Step, Note: inv.Log.Note}, inv.Stdin)
			}
			return status(inv.Log, err)
		}
	},
}

// status gives an error its exit status.
func status(log *cli.Log, err error) error {
	var start *StartError
	var end *EndError
	switch {
	case errors.As(err, &start):
		log.Error("%v", err)
		return &cli.Passthrough{Status: start.Status}
	case errors.As(err, &end):
		log.Error("%v", err)
		return &cli.Passthrough{Status: end.Status()}
	case errors.Is(err, ErrRaw):
		return cli.WithHint(cli.Exit(cli.StatusInput, err), "put ckpt-dedup before it: ckpt-collect PID | ckpt-dedup | ckpt-commit COMMAND")
	case errors.Is(err, stream.ErrForeign), errors.Is(err, image.ErrForeign):
		return cli.WithHint(cli.Exit(cli.StatusInput, err), "what encrypts an image is a part of the command: ckpt-write | ckpt-commit bash -o pipefail -c 'age -r KEY | rclone rcat …'")
	}
	return cli.StreamError(err)
}

package commit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ckpt/internal/cli"
	"ckpt/internal/image"
	"ckpt/internal/move"
	"ckpt/stream"
)

// Command is ckpt-commit.
var Command = cli.Command{
	Name:    Tool,
	Args:    "COMMAND [ARG...]",
	Program: true,
	Own125:  true,
	Summary: "hold the target until a command has stored its stream or image, or runs it elsewhere",
	Setup: func() ([]cli.Flag, func(context.Context, *cli.Invocation) error) {
		var moves bool
		var resolve string
		timeout := time.Minute
		flags := []cli.Flag{
			{Name: "move", Value: &moves, Help: "end the target when it runs on the other side; COMMAND leads to ckpt-apply --prepared there"},
			{Name: "timeout", Value: &timeout, Arg: "TIME", Help: "with --move and --resolve, how long to wait for an answer"},
			{Name: "resolve", Value: &resolve, Arg: "ID", Help: "ask the other side what became of a move, by the same COMMAND or another one"},
		}
		return flags, func(ctx context.Context, inv *cli.Invocation) error {
			switch {
			case moves && resolve != "":
				return cli.Exit(cli.StatusUsage, errors.New("--move and --resolve exclude each other"))
			case (moves || resolve != "") && timeout <= 0:
				return cli.Exit(cli.StatusUsage, errors.New("--timeout takes a time above 0"))
			case resolve != "":
				o := ResolveOptions{ID: resolve, Args: inv.Args, Timeout: timeout, Step: inv.Log.Step}
				return resolved(inv.Log, &o, Resolve(ctx, o))
			case len(inv.Args) == 0:
				return cli.Exit(cli.StatusUsage, errors.New("COMMAND [ARG...] is missing"))
			case !moves:
				timeout = 0
			}
			return pipeline(ctx, inv, timeout)
		}
	},
}

// pipeline is ckpt-commit at the end of one; limit is 0 without --move.
func pipeline(ctx context.Context, inv *cli.Invocation, limit time.Duration) error {
	if err := cli.RefuseTerminal(inv.Stdin, "ckpt-collect PID | ckpt-dedup | ckpt-write | ckpt-commit COMMAND"); err != nil {
		return err
	}
	program, err := Find(inv.Args, inv.Stdout)
	if err == nil {
		err = Run(ctx, Options{Program: program, Move: limit, Step: inv.Log.Step, Note: inv.Log.Note}, inv.Stdin)
	}
	if limit > 0 {
		return moved(err)
	}
	return status(inv.Log, err)
}

// moved gives the error of a move its exit status.
func moved(err error) error {
	var end *EndError
	switch {
	case errors.Is(err, move.ErrUndecided):
		return cli.ExitExactly(cli.StatusUndecided, err)
	case errors.Is(err, errNotKilled):
		return cli.WithHint(cli.ExitExactly(cli.StatusRefused, err), "ckpt-collect --leave killed PID | ckpt-dedup | ckpt-commit --move COMMAND")
	case errors.Is(err, ErrStays), errors.As(err, &end):
		return cli.ExitExactly(cli.StatusRefused, err)
	}
	return cli.StreamError(err)
}

// resolved gives the outcome of a question its exit status.
func resolved(log *cli.Log, o *ResolveOptions, err error) error {
	var elsewhere *move.ElsewhereError
	switch {
	case errors.Is(err, move.ErrUndecided), errors.As(err, &elsewhere):
		return cli.ExitExactly(cli.StatusUndecided, err)
	case errors.Is(err, move.ErrNone):
		return fmt.Errorf("%q is not the id of a move that is undecided on this system", o.ID)
	case err == ErrStays:
		log.Note("it does not run on the other side, and runs on here")
		return cli.ExitExactly(cli.StatusRefused, nil)
	}
	return err
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

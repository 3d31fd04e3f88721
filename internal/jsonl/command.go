package jsonl

import (
	"context"
	"errors"
	"fmt"

	"ckpt/internal/cli"
	"ckpt/internal/sys"
)

// Command is ckpt-json.
var Command = cli.Command{
	Name: Tool, Args: "decode|encode", MinArgs: 1, MaxArgs: 1, Verb: true,
	ForFile: func(file string) string { return "ckpt-read < " + file + " | ckpt-json decode" },
	Summary: "turn a stream into JSON Lines, and back",
	Setup: func() ([]cli.Flag, func(context.Context, *cli.Invocation) error) {
		var data bool
		flags := []cli.Flag{{Name: "data", Value: &data, Help: "decode: print the bulk data, too, as base64"}}
		return flags, func(ctx context.Context, inv *cli.Invocation) error {
			sys.GrowPipes(inv.Stdin, inv.Stdout)
			switch inv.Args[0] {
			case "decode":
				if err := cli.RefuseTerminal(inv.Stdin, "ckpt-read < img | ckpt-json decode"); err != nil {
					return err
				}
				return cli.StreamError(Decode(ctx, inv.Stdin, inv.Stdout, data))
			case "encode":
				if err := cli.RefuseTerminal(inv.Stdout, "ckpt-json encode | ckpt-apply"); err != nil {
					return err
				}
				return status(Encode(ctx, inv.Stdin, inv.Stdout))
			}
			err := cli.Exit(cli.StatusUsage, fmt.Errorf("%q is neither decode nor encode", inv.Args[0]))
			return cli.WithHint(err, "ckpt-json --help lists the options")
		}
	},
}

func status(err error) error {
	var line *LineError
	if errors.Is(err, ErrDataLeftOut) {
		return cli.WithHint(cli.Exit(cli.StatusInput, err), "ckpt-json decode --data keeps the data")
	}
	if errors.As(err, &line) {
		return cli.Exit(cli.StatusInput, err)
	}
	return cli.StreamError(err)
}

// Command ckpt-commit is described in man/ckpt-commit.1.md.
package main

import (
	"os"

	"ckpt/internal/cli"
	"ckpt/internal/commit"
)

func main() { os.Exit(cli.Main(&commit.Command, os.Args)) }

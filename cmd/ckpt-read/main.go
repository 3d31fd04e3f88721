// Command ckpt-read is described in man/ckpt-read.1.md.
package main

import (
	"os"

	"ckpt/internal/cli"
	"ckpt/internal/read"
)

func main() { os.Exit(cli.Main(&read.Command, os.Args)) }

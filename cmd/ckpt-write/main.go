// Command ckpt-write is described in man/ckpt-write.1.md.
package main

import (
	"os"

	"ckpt/internal/cli"
	"ckpt/internal/write"
)

func main() { os.Exit(cli.Main(&write.Command, os.Args)) }

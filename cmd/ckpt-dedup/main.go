// Command ckpt-dedup is described in man/ckpt-dedup.1.md.
package main

import (
	"os"

	"ckpt/internal/cli"
	"ckpt/internal/dedup"
)

func main() { os.Exit(cli.Main(&dedup.Command, os.Args)) }

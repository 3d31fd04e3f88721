// Command ckpt-collect is described in man/ckpt-collect.1.md.
package main

import (
	"os"

	"ckpt/internal/cli"
	"ckpt/internal/collect"
)

func main() { os.Exit(cli.Main(&collect.Command, os.Args)) }

// Command ckpt-apply is described in man/ckpt-apply.1.md.
package main

import (
	"os"

	"ckpt/internal/apply"
	"ckpt/internal/cli"
)

func main() { os.Exit(cli.Main(&apply.Command, os.Args)) }

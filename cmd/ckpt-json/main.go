// Command ckpt-json is described in man/ckpt-json.1.md.
package main

import (
	"os"

	"ckpt/internal/cli"
	"ckpt/internal/jsonl"
)

func main() { os.Exit(cli.Main(&jsonl.Command, os.Args)) }

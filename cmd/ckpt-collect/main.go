// Command ckpt-collect is described in man/ckpt-collect.1.md.
package main

import (
	"os"

	"ckpt/internal/collect"
)

func main() { os.Exit(collect.Main(os.Args)) }

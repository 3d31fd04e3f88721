package cli

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// RefuseTerminal is an error when f, which a stream is read from or written to,
// is a terminal.
func RefuseTerminal(f *os.File, hint string) error {
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	return WithHint(Exit(StatusUsage, fmt.Errorf("%s is a terminal, and a stream is not text", f.Name())), hint)
}

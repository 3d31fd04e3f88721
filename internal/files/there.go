package files

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
)

// passing is a reason that may be gone when the tree has run for a moment.
type passing struct{ error }

// Passes says that it may.
func (passing) Passes() bool    { return true }
func (p passing) Unwrap() error { return p.error }

// isThere reports whether the path of a subject still leads to it. If that can't
// be found out, the subject is blocked and known is false: a file that we may not
// look up has not necessarily been deleted.
func (c *Collector) isThere(s *Subject) (there, known bool) {
	there, err := c.leads(s)
	if at := s.place(); at.mount != 0 || at.host {
		return true, true
	}
	switch {
	case err == nil:
		return there, true
	case s.Stat.Nlink == 0:
		return false, true
	case errors.Is(err, unix.EACCES):
		err = cli.WithHint(fmt.Errorf("%s is %s, where this user may not look: that takes CAP_DAC_READ_SEARCH", where(s), s.Target),
			"run ckpt-collect as root, or as a user who may search all folders on that path")
	default:
		err = fmt.Errorf("%s is %s, which can't be looked up: %w", where(s), s.Target, err)
	}
	c.Block(s.PID, err)
	return false, false
}

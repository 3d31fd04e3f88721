package apply

import (
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/sys"
)

// terminal is the controlling terminal of ckpt-apply, lent to the restored
// program as a shell lends it to a job.
type terminal struct {
	f      *os.File
	saved  []byte // its settings before
	ours   int    // our process group
	lentTo int    // whose it is, if it is lent
}

// openTerminal returns the controlling terminal if this process group may use
// it now, or nil.
func openTerminal() *terminal {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	t := &terminal{f: f, ours: unix.Getpgrp()}
	if fg, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP); err != nil || fg != t.ours {
		f.Close()
		return nil
	}
	t.saved, _, _, _ = sys.GetTermios(int(f.Fd()))
	return t
}

// lend makes pgid the terminal's foreground group and gives the terminal the
// settings the program left it with. nil termios keep those there are.
func (t *terminal) lend(pgid int, termios []byte) {
	t.lentTo = pgid
	t.fromBackground(func() error {
		if termios != nil {
			if err := sys.SetTermios(int(t.f.Fd()), termios); err != nil {
				return err
			}
		}
		return unix.IoctlSetPointerInt(int(t.f.Fd()), unix.TIOCSPGRP, pgid)
	})
}

// takeBack undoes lend and returns the settings the program had set.
func (t *terminal) takeBack() []byte {
	now, _, _, _ := sys.GetTermios(int(t.f.Fd()))
	t.fromBackground(func() error {
		if err := unix.IoctlSetPointerInt(int(t.f.Fd()), unix.TIOCSPGRP, t.ours); err != nil || t.saved == nil {
			return err
		}
		return sys.SetTermios(int(t.f.Fd()), t.saved)
	})
	return now
}

// fromBackground changes the terminal. In the background that would raise
// SIGTTOU, unless it is blocked, see tcsetpgrp(3). The terminal may be gone by
// now, which is no reason to fail.
func (t *terminal) fromBackground(change func() error) {
	_ = sys.WithSignalBlocked(unix.SIGTTOU, change)
}

// foreground returns the process group that had the terminal, or the root's.
func (b *builder) foreground() int {
	root := b.model.Tasks[0]
	for _, t := range b.model.Tasks {
		if t.Group == root.TPGID && t.Group != 0 {
			return t.Group
		}
	}
	return max(root.Group, 0)
}

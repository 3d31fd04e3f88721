package apply

import (
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/sys"
)

// terminal is the controlling terminal of ckpt-apply. It is lent to the restored program
// as a shell lends it to a job.
type terminal struct {
	f      *os.File
	saved  []byte // its settings before
	ours   int    // our process group
	lentTo int    // the process group it is lent to, if it is
}

// openTerminal returns the controlling terminal, or nil if this process group is not in
// its foreground.
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

// lend makes pgid the terminal's foreground group and gives the terminal the settings
// that the program had set. With nil the settings are left alone.
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

// fromBackground changes the terminal. In the background that would raise SIGTTOU,
// unless it is blocked, see tcsetpgrp(3). Errors are ignored: the terminal may be gone
// by now.
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

package files

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/sys"
)

// dnotify blocks folders whose changes are reported by signals, see F_NOTIFY in
// fcntl(2). The kernel does not show which folders those are, but it shows who
// gets the signals.
func (c *Collector) dnotify(s *Subject) error {
	if s.Stat.Mode&unix.S_IFMT != unix.S_IFDIR || s.Info.Flags&unix.O_PATH != 0 {
		return nil
	}
	f, err := borrow(s)
	if err != nil {
		return err
	}
	defer f.Close()
	if own, err := sys.GetOwnEx(int(f.Fd())); err != nil || own.PID == 0 {
		return err
	}
	c.Block(s.PID, fmt.Errorf("fd %d (%s) is a folder whose changes are reported by signals (F_NOTIFY), which can't be saved", s.FD, s.Target))
	return nil
}

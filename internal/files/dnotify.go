package files

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/sys"
)

// dnotify blocks folders that tell of changes by signals, see F_NOTIFY in
// fcntl(2). The kernel does not show which; who gets the signals it does.
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
	c.Block(s.PID, fmt.Errorf("fd %d (%s) is a folder whose changes are told by signals (F_NOTIFY), which can't be saved", s.FD, s.Target))
	return nil
}

package task

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/tracee"
)

// ownKeyrings are the keyrings that belong to a thread or process alone, see
// KEYCTL_GET_KEYRING_ID in keyctl(2). The others outlive it, except that of the
// session: every restored tree gets a new one.
var ownKeyrings = []struct {
	id      int32
	process bool
	name    string
}{{-1, false, "thread"}, {-2, true, "process"}}

func keyringID(id int32) tracee.Query {
	return query(0, unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, uint64(uint32(id)), 0)
}

func (c *Collector) askKeyrings() (all []tracee.Query) {
	for _, k := range ownKeyrings {
		if !k.process || c.TID == c.PID {
			all = append(all, keyringID(k.id))
		}
	}
	return all
}

// keyrings blocks a thread that has keyrings of its own: a program remembers the
// serial numbers of its keys, and they can't be restored.
func (c *Collector) keyrings() error {
	for _, k := range ownKeyrings {
		if k.process && c.TID != c.PID || !k.process && c.Facts.ended() {
			continue
		}
		serial, _, err := c.result(keyringID(k.id))
		switch err {
		case nil:
			c.Block(fmt.Errorf("has a %s keyring (%d), which can't be saved", k.name, serial))
		case unix.ENOKEY, unix.ENOSYS, unix.EPERM, unix.EACCES: // none, or none that the thread itself can find
		case unix.EKEYREVOKED, unix.EKEYEXPIRED:
		default:
			return fmt.Errorf("pid %d: its %s keyring: %w", c.TID, k.name, err)
		}
	}
	return nil
}

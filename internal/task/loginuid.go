package task

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// loginUID: the user a thread belongs to for auditd(8). It is restored in each
// thread, because each can set only its own. Setting it a second time takes
// CAP_AUDIT_CONTROL, so it comes before credentials.
var loginUID = row[record.LoginUID]{
	Type:  record.TypeLoginUID,
	First: true,
	Collect: func(c *Collector) error {
		if c.Facts.loginUID == nil {
			return nil
		}
		return c.Emit(record.TypeLoginUID, &record.LoginUID{PID: c.PID, TID: c.TID, UID: *c.Facts.loginUID})
	},
	Check: anything[record.LoginUID],
	Restore: func(r *Restorer, l *record.LoginUID) error {
		now, err := proc.ReadLoginUID(l.PID, l.TID)
		if err == nil && now == l.UID {
			return nil
		}
		if err == nil {
			err = r.setLoginUID(l)
		}
		if errors.Is(err, unix.EPERM) {
			err = errors.New("that takes CAP_AUDIT_CONTROL")
		}
		if err != nil {
			r.Note("pid %d has the login user id of ckpt-apply, because its own (%s) can't be set here: %v", l.TID, loginText(l.UID), err)
		}
		return nil
	},
}.resource()

// setLoginUID has the thread write to its own file, which we open for it: /proc may
// be out of reach from its root folder.
func (r *Restorer) setLoginUID(l *record.LoginUID) error {
	f, err := os.OpenFile(proc.ThreadPath(l.PID, l.TID, "loginuid"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fd, err := r.give(f)
	if err != nil {
		return err
	}
	// In a vector of its own, because the restore goes on if it fails.
	v := r.Puppet.Vector()
	text := strconv.AppendUint(nil, uint64(l.UID), 10)
	write := v.Add("write its login user id", unix.SYS_WRITE, uint64(fd), v.Put(text), uint64(len(text))).MayFail()
	v.Add("close", unix.SYS_CLOSE, uint64(fd))
	if err := v.Run(); err != nil {
		return err
	}
	_, err = write.Result()
	return err
}

func loginText(uid uint32) string {
	if uid == ^uint32(0) {
		return "none"
	}
	return strconv.FormatUint(uint64(uid), 10)
}

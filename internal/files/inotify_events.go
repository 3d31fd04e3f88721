package files

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

// inotify is a restored instance. Its watches are made when all else is done, and what the
// rest of the restart has it see is dropped: all events that it has when the program runs
// are of what happened to its files while it was not there.
type inotify struct {
	*single
	m       *inotifyMaker
	rec     *record.Inotify
	watches []*watch
	made    []*watch // those whose files are there
	own     int      // it once more: the depot is closed before we are; -1: not yet
	meant   int      // bytes of events that the program is to get
}

const (
	inotifySetNextWD = 0x40044900 // INOTIFY_IOC_SETNEXTWD of linux/inotify.h
	eventBytes       = 16         // struct inotify_event of linux/inotify.h, without a name
)

// Commit makes the watches.
func (i *inotify) Commit() error {
	fd, err := i.f.Fd()
	if err != nil {
		return err
	}
	if i.own, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	// In ascending order, so that the next to be made gets a number that none has had.
	slices.SortFunc(i.watches, func(a, b *watch) int { return cmp.Compare(a.rec.WD, b.rec.WD) })
	gone, err := i.addAll()
	if err != nil {
		return err
	}
	for _, w := range gone {
		if err := i.addGone(w); err != nil {
			return err
		}
	}
	i.meant, err = i.waiting()
	return err
}

// addAll makes the watches whose files are there, and tells the program, before anything
// else, if it has missed events. It returns the others.
func (i *inotify) addAll() (gone []*watch, err error) {
	lost := i.rec.Waiting > 0
	for _, w := range i.watches {
		f, err := w.open()
		if err != nil {
			return nil, err
		}
		if f == nil {
			gone, lost = append(gone, w), true
			continue
		}
		lost = lost || w.changed(f)
		err = i.add(w, f)
		if err = errors.Join(err, f.Close()); errors.Is(err, unix.EEXIST) {
			i.m.Note("%s no longer watches %s by watch %d (inotify): another of its watches is on the same file now", i.m.Name(w.rec.TID), w.Path, w.rec.WD)
			gone, lost = append(gone, w), true
			continue
		}
		if err != nil {
			return nil, err
		}
		i.made = append(i.made, w)
	}
	if lost {
		return gone, i.overflow()
	}
	return gone, nil
}

// add makes a watch with its number.
func (i *inotify) add(w *watch, f *os.File) error {
	if err := unix.IoctlSetInt(i.own, inotifySetNextWD, w.rec.WD); err != nil {
		return fmt.Errorf("choose the number of an inotify's watch, which takes CONFIG_CHECKPOINT_RESTORE: %w", err)
	}
	// IN_MASK_CREATE: nothing else is watched there. It also makes a mask without events
	// valid.
	wd, err := unix.InotifyAddWatch(i.own, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), w.rec.Mask|unix.IN_MASK_CREATE)
	switch {
	case err == unix.ENOSPC:
		return fmt.Errorf("%s can't watch %s, because its user has too many watches, see fs.inotify.max_user_watches: %w", i.m.Name(w.rec.TID), w.Path, err)
	case err != nil:
		return fmt.Errorf("%s can't watch %s: %w", i.m.Name(w.rec.TID), w.Path, err)
	case wd != w.rec.WD:
		return fmt.Errorf("%w: %s has two watches %d", stream.ErrCorrupt, i.m.Name(w.rec.TID), w.rec.WD)
	}
	return nil
}

// addGone has the program see that what it watches was deleted: another file stands for
// it, without a name, and ends at once.
func (i *inotify) addGone(w *watch) error {
	fd, err := unix.MemfdCreate("deleted", unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "a file that was deleted")
	return errors.Join(i.add(w, f), f.Close())
}

// waiting returns how many bytes of events wait.
func (i *inotify) waiting() (int, error) {
	n, err := unix.IoctlGetInt(i.own, unix.TIOCINQ)
	return n, os.NewSyscallError("ioctl", err)
}

// maxQueue is up to how many events in a queue IN_Q_OVERFLOW is caused.
const maxQueue = 1 << 22

// overflow puts IN_Q_OVERFLOW in the queue, and nothing else. Only the kernel can do that,
// when the queue is full: two files are changed in turn until it is, and what is before
// the last event is read. While it is full, IN_IGNORED for these files is dropped.
func (i *inotify) overflow() error {
	most, err := proc.ReadSysctl("fs/inotify/max_queued_events")
	if err != nil || most > maxQueue {
		i.m.Note("an inotify can't be told that it has missed events, because fs.inotify.max_queued_events is too large: %d", most)
		return err
	}
	var files, wds [2]int
	for n := range files {
		if files[n], err = unix.MemfdCreate("filler", unix.MFD_CLOEXEC); err != nil {
			return os.NewSyscallError("memfd_create", err)
		}
		defer unix.Close(files[n])
		if wds[n], err = unix.InotifyAddWatch(i.own, fmt.Sprintf("/proc/self/fd/%d", files[n]), unix.IN_ATTRIB); err != nil {
			return fmt.Errorf("watch a file to fill a queue: %w", err)
		}
	}
	for n := range most + 2 {
		if err := unix.Fchmod(files[n%2], 0o600); err != nil {
			return os.NewSyscallError("fchmod", err)
		}
	}
	for _, wd := range wds {
		if _, err := unix.InotifyRmWatch(i.own, uint32(wd)); err != nil {
			return os.NewSyscallError("inotify_rm_watch", err)
		}
	}
	return i.readUntil(eventBytes)
}

// readUntil reads events until only the last is left, or none.
func (i *inotify) readUntil(left int) error {
	var b []byte
	for {
		n, err := i.waiting()
		if err != nil || n <= left {
			return err
		}
		if len(b) < n-left {
			b = make([]byte, n-left)
		}
		if _, err := unix.Read(i.own, b[:n-left]); err != nil {
			return os.NewSyscallError("read", err)
		}
	}
}

// Close drops what the rest of the restart has had the instance see. Nothing can be taken
// out of the middle of a queue, so then the program is told only that it has missed events.
func (i *inotify) Close() error {
	if i.own < 0 {
		return i.single.Close()
	}
	var err error
	if i.m.clearSockets != nil { // of which it would see that they go
		err = i.m.clearSockets()
	}
	err = errors.Join(err, i.settle())
	return errors.Join(err, unix.Close(i.own), i.single.Close())
}

func (i *inotify) settle() error {
	n, err := i.waiting()
	if err != nil || n <= i.meant {
		return err
	}
	if err := errors.Join(i.readUntil(0), i.addSpent()); err != nil {
		return err
	}
	if i.meant > 0 {
		return i.overflow()
	}
	return nil
}

// addSpent makes the watches again that ended with their first event (IN_ONESHOT).
func (i *inotify) addSpent() error {
	info, err := proc.ReadFDInfo(os.Getpid(), i.own)
	if err != nil {
		return err
	}
	list, err := info.InotifyWatches()
	if err != nil {
		return err
	}
	there := map[int]bool{}
	for n := range list {
		there[list[n].WD] = true
	}
	for _, w := range i.made {
		if w.rec.Mask&unix.IN_ONESHOT == 0 || there[w.rec.WD] {
			continue
		}
		f, err := w.open()
		if err == nil && f != nil {
			err = errors.Join(i.add(w, f), f.Close())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

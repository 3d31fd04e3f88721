package files

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/kcmp"
	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// inotifyKind: inotify instances. Only kcmp(2) can tell them apart. The kernel tells what
// they watch, but by inode number and file handle, not by path. Events that wait can't be
// seen without taking them from the program: after a restore it is told, by
// IN_Q_OVERFLOW, that some were lost.
var inotifyKind = Kind{
	Type: record.TypeInotify,
	Part: []record.Type{record.TypeInotifyWatch},
	Save: func(c *Collector) Saver {
		i := &inotifySaver{Collector: c, waiting: map[kcmp.Handle]int{}}
		return Saver{Look: i.look, Match: isInotify, Collect: i.collect, Settle: i.settle}
	},
	Restore: func(r *Restorer) Maker {
		m := &inotifyMaker{Restorer: r}
		return Maker{Kind: object.Kind{Check: m.check, Here: m.here, Make: m.make, Add: m.add}}
	},
}

func isInotify(s *Subject) bool { return isAnon(s, "inotify") }

type inotifySaver struct {
	*Collector
	waiting map[kcmp.Handle]int // bytes of events
}

// look counts the events that wait before we open any file, which may be watched.
func (i *inotifySaver) look(s *Subject) {
	if !isInotify(s) || s.Info.Flags&unix.O_PATH != 0 {
		return
	}
	if f, err := borrow(s); err == nil { // else collect says why
		i.waiting[kcmp.Handle{PID: s.PID, Idx: uint64(s.FD)}], _ = unix.IoctlGetInt(int(f.Fd()), unix.TIOCINQ)
		f.Close()
	}
}

func (i *inotifySaver) collect(s *Subject) (uint64, error) {
	if i.blockPath(s) {
		return 0, nil
	}
	rec := record.Inotify{Object: record.Object{ID: i.NewID(), Genid: Genid(s.Stat.Dev, s.Stat.Ino, s.Info.Pos),
		Kcmp: &record.Kcmp{Type: int(kcmp.File), TID: s.PID, Idx: uint64(s.FD)}}, Waiting: int64(i.waiting[kcmp.Handle{PID: s.PID, Idx: uint64(s.FD)}])}
	return rec.ID, i.Emit(record.TypeInotify, &rec)
}

// settle describes what each inotify of the tree watches, once even if several processes
// share it.
func (i *inotifySaver) settle() error {
	all, err := i.descriptions(isInotify)
	if err != nil || len(all) == 0 {
		return err
	}
	f, err := i.newFinder()
	if err != nil {
		return err
	}
	defer f.close()
	for _, fds := range all {
		if err := i.watches(fds[0], f); err != nil {
			return fmt.Errorf("fd %d of pid %d: %w", fds[0].FD, fds[0].PID, err)
		}
	}
	return nil
}

// maxUnfound is how many watches of an instance are named one by one whose file can't be
// found.
const maxUnfound = 10

func (i *inotifySaver) watches(e *opened, f *finder) error {
	watches, err := e.Info.InotifyWatches()
	if err != nil || e.file == 0 {
		return err
	}
	unfound := 0
	for n := range watches {
		w := &watches[n]
		rec, err := f.find(w)
		if err != nil {
			return err
		}
		if rec == nil {
			if unfound++; unfound <= maxUnfound {
				i.Block(e.PID, &unfoundWatch{e.FD, w, f.lacks})
			}
			continue
		}
		rec.TID, rec.WD, rec.Mask, rec.Refs.Inotify = e.PID, w.WD, w.Mask, e.inode
		if err := i.Emit(record.TypeInotifyWatch, rec); err != nil {
			return err
		}
	}
	if unfound > maxUnfound {
		i.Block(e.PID, fmt.Errorf("fd %d is an inotify that watches %d more such files", e.FD, unfound-maxUnfound))
	}
	return nil
}

// unfoundWatch: nothing leads to what is watched.
type unfoundWatch struct {
	fd    int
	w     *proc.InotifyWatch
	lacks bool // we may not open it by its handle
}

func (u *unfoundWatch) Error() string {
	without := ""
	if u.lacks {
		without = " without CAP_DAC_READ_SEARCH"
	}
	return fmt.Sprintf("fd %d is an inotify that watches inode %d of the file system %d:%d, whose path can't be found%s; that can't be saved",
		u.fd, u.w.Ino, unix.Major(u.w.Dev), unix.Minor(u.w.Dev), without)
}

func (u *unfoundWatch) Hint() string {
	if u.lacks {
		return "run ckpt-collect as root, who can find it by its file handle"
	}
	return fmt.Sprintf("let the program remove watch %d, or find the file (find / -xdev -inum %d) and open it in a process that is saved", u.w.WD, u.w.Ino)
}

// watchOf is the record of a watch on a file that was found.
func watchOf(s *Subject) *record.InotifyWatch {
	w := &record.InotifyWatch{Stat: statOf(s), CtimeNS: s.Stat.Ctim.Nano()}
	if name, cut := strings.CutSuffix(s.Target, deletedSuffix); cut || s.Stat.Nlink == 0 {
		w.Path, w.Deleted, w.CtimeNS = name, true, 0
	}
	return w
}

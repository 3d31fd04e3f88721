package files

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

// inotifyMaker is the kind in one restart.
type inotifyMaker struct {
	*Restorer
	instances, watches int64 // how many were checked
	// before has when what a path led to was changed, before a restore changed anything.
	before map[watchKey]int64
	notes  int
}

// check judges an INOTIFY or an INOTIFYWATCH.
func (m *inotifyMaker) check(rec *stream.Record) []error {
	var err error
	if rec.Type == record.TypeInotify {
		var i *record.Inotify
		if i, err = decode[record.Inotify](rec); err == nil && i.Waiting < 0 {
			err = fmt.Errorf("%w: inotify with %d bytes", stream.ErrCorrupt, i.Waiting)
		}
	} else {
		err = m.checkWatch(rec)
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

// inotifyBits are those of the mask of a watch that the kernel keeps.
const inotifyBits = unix.IN_ALL_EVENTS | unix.IN_EXCL_UNLINK | unix.IN_ONESHOT

func (m *inotifyMaker) checkWatch(rec *stream.Record) error {
	t, err := decode[record.InotifyWatch](rec)
	if err != nil {
		return err
	}
	if t.WD < 1 || t.WD > math.MaxInt32 || t.Mask&^inotifyBits != 0 {
		return fmt.Errorf("%w: watch %d for %#x", stream.ErrCorrupt, t.WD, t.Mask)
	}
	if t.Refs.Inode == 0 {
		err = checkPath(t.Path)
	}
	if err != nil || m.Paper {
		return err
	}
	m.watches++
	m.noteChange(t)
	if err := atMost("watches", "fs/inotify/max_user_watches", m.watches); err != nil || t.Refs.Inode != 0 || t.Deleted {
		return err
	}
	return m.checkTarget(t)
}

// watchKey identifies a watch.
type watchKey struct {
	inotify uint64
	wd      int
}

// noteChange notes when a watched file was changed last: to restore the sockets in a
// folder changes that.
func (m *inotifyMaker) noteChange(t *record.InotifyWatch) {
	p, err := walk(t.Path, unix.O_PATH|unix.O_NOFOLLOW, false)
	if err != nil {
		return
	}
	defer p.Close()
	var st unix.Stat_t
	if unix.Fstat(int(p.Fd()), &st) == nil && st.Dev == t.Dev && st.Ino == t.Ino {
		if m.before == nil {
			m.before = map[watchKey]int64{}
		}
		m.before[watchKey{t.Refs.Inotify, t.WD}] = st.Ctim.Nano()
	}
}

// checkTarget says if a file that only a path leads to can't be watched, and tells if it
// is no longer what it was.
func (m *inotifyMaker) checkTarget(t *record.InotifyWatch) error {
	w := m.newWatch(t)
	f, err := w.open()
	switch {
	case err != nil:
		return err
	case f == nil:
		m.tell("%s watches %s (inotify), which is not there any more; it sees that it was deleted", m.Name(t.TID), t.Path)
		return nil
	case !w.same:
		m.tell("%s watches %s (inotify), which is another file now; it is told that it has missed events", m.Name(t.TID), t.Path)
	}
	return f.Close()
}

// atMost returns an error if there are more of something than a user may have.
func atMost(what, sysctl string, n int64) error {
	most, err := proc.ReadSysctl(sysctl)
	if err != nil || n != most+1 { // tell it once
		return nil
	}
	return cli.WithHint(fmt.Errorf("the image has more inotify %s than a user may have here, %d", what, most), fmt.Sprintf("raise the limit: sysctl %s", sysctl))
}

// maxNotes is how many watches are named one by one.
const maxNotes = 20

func (m *inotifyMaker) tell(format string, args ...any) {
	if m.notes++; m.notes <= maxNotes {
		m.Note(format, args...)
	} else if m.notes == maxNotes+1 {
		m.Note("and so do more")
	}
}

func (m *inotifyMaker) here(*stream.Record) []error {
	m.instances++
	if err := atMost("instances", "fs/inotify/max_user_instances", m.instances); err != nil {
		return []error{err}
	}
	return nil
}

// make makes an instance, as the user that it is to count for.
func (m *inotifyMaker) make(rec *stream.Record) (object.Object, error) {
	i, err := decode[record.Inotify](rec)
	if err != nil {
		return nil, err
	}
	fd := -1
	err = m.asUserOf(i.Objref, func() (err error) {
		fd, err = unix.InotifyInit1(unix.IN_CLOEXEC)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make an inotify, see fs.inotify.max_user_instances: %w", err)
	}
	s, err := m.newSingle(fd, "an inotify")
	if err != nil {
		return nil, err
	}
	return &inotify{single: s, m: m, rec: i, own: -1}, nil
}

// add gives a watch to its instance, unless something else replaces that.
func (m *inotifyMaker) add(rec *stream.Record) error {
	t, err := decode[record.InotifyWatch](rec)
	if err != nil {
		return err
	}
	obj, err := m.Hash.Get(t.Refs.Inotify, record.TypeInotify)
	if err != nil {
		return err
	}
	if i, ok := obj.(*inotify); ok {
		i.watches = append(i.watches, m.newWatch(t))
	}
	return nil
}

// watch is a file or folder that is to be watched.
type watch struct {
	*named
	rec    *record.InotifyWatch
	same   bool  // what was opened is what was watched
	before int64 // when it was changed last before the restore, if that is known
}

var errOtherType = errors.New("it is of another type now")

func (m *inotifyMaker) newWatch(t *record.InotifyWatch) *watch {
	w := &watch{rec: t, before: m.before[watchKey{t.Refs.Inotify, t.WD}]}
	w.named = m.named(t.Refs.Inotify, &t.Stat, "a file", func(p int, st *unix.Stat_t) error {
		w.same = w.isSame(p, st) || w.onlyNumbered(st)
		if (st.Mode^t.Mode)&unix.S_IFMT != 0 {
			return errOtherType
		}
		return nil
	})
	return w
}

// onlyNumbered reports whether this is the watched file on a file system of the kernel's
// own: such have nothing that tells a file from one that gets its number later.
func (w *watch) onlyNumbered(st *unix.Stat_t) bool {
	return w.r.SameBoot && w.BtimeNS == 0 && w.FH == nil && st.Dev == w.Dev && st.Ino == w.Ino && st.Mode == w.Mode
}

// open opens (O_PATH) what is to be watched: what the tree has open, or what is at the
// path, or else what was there and now has another. It is nil if there is none.
func (w *watch) open() (f *os.File, err error) {
	if w.rec.Refs.Inode != 0 {
		w.same = true
		if f, err = w.r.Open(w.rec.Refs.Inode, unix.O_PATH|unix.O_NOFOLLOW); errors.Is(err, stream.ErrCorrupt) {
			return nil, nil // it is replaced
		}
		return f, err
	}
	if !w.rec.Deleted {
		if f, err = w.named.Open(unix.O_PATH | unix.O_NOFOLLOW); w.same && err == nil {
			return f, nil
		}
	}
	if g := w.byHandle(); g != nil {
		w.same = true
		return g, closeIf(f)
	}
	for _, gone := range []error{unix.ENOENT, unix.ENOTDIR, errOtherType} {
		if errors.Is(err, gone) {
			return nil, nil
		}
	}
	return f, err
}

func closeIf(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

// byHandle opens the watched file if it was given another path.
func (w *watch) byHandle() *os.File {
	if w.FH == nil {
		return nil
	}
	dir, err := walk(filepath.Dir(w.Path), unix.O_RDONLY|unix.O_DIRECTORY, false)
	if err != nil {
		return nil
	}
	defer dir.Close()
	fd, err := unix.OpenByHandleAt(int(dir.Fd()), unix.NewFileHandle(w.FH.Type, w.FH.Bytes), unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), w.Path)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || !w.isSame(fd, &st) {
		f.Close()
		return nil
	}
	return f
}

// ofItself are the events that show only the end or the way of what is watched: if it is
// still there, none was missed.
const ofItself = unix.IN_DELETE_SELF | unix.IN_IGNORED | unix.IN_UNMOUNT | unix.IN_EXCL_UNLINK | unix.IN_ONESHOT

// changed reports whether events were missed of what was opened.
func (w *watch) changed(f *os.File) bool {
	switch {
	case !w.same:
		return true
	case w.rec.CtimeNS == 0 || w.rec.Mask&^uint32(ofItself) == 0:
		return false
	}
	var st unix.Stat_t
	switch err := unix.Fstat(int(f.Fd()), &st); {
	case err != nil:
		return true
	case w.r.MadeDev != nil && w.r.MadeDev(st.Dev): // nobody else could change it
		return false
	case w.before != 0:
		return w.before != w.rec.CtimeNS
	}
	return st.Ctim.Nano() != w.rec.CtimeNS
}

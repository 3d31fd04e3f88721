package files

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/depot"
	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

const deletedSuffix = " (deleted)"

// regKind: regular files. The contents of a file that no path leads to are part
// of the stream.
var regKind = Kind{
	Type: record.TypeReg,
	Data: []record.Type{record.TypeContent},
	Save: func(c *Collector) Saver { return Saver{Match: isReg, Paths: true, Collect: c.reg} },
	Restore: func(r *Restorer) Maker {
		return Maker{Kind: object.Kind{Check: r.checkReg, Here: r.ghostHere, Make: r.makeReg}, Thing: r.regThing}
	},
}

func isReg(s *Subject) bool {
	return isMode(s, unix.S_IFREG) && !strings.HasPrefix(s.Target, "/memfd:") && hidden(s) == ""
}

func (r *Restorer) regThing(rec *stream.Record) (*Thing, error) {
	reg, err := decoded[record.Reg](rec)
	if err != nil {
		return nil, err
	}
	return &Thing{Name: reg.Path, Reg: reg}, checkPath(reg.Path)
}

func (c *Collector) reg(s *Subject) (uint64, error) {
	reg := record.Reg{
		Object: record.Object{ID: c.NewID(), Ident: ident(record.TypeReg, s.Stat.Dev, s.Stat.Ino)},
		Stat:   statOf(s), Size: s.Stat.Size, Nlink: uint64(s.Stat.Nlink), // 32 bits wide on arm64
	}
	there, known := c.isThere(s)
	if !known {
		return 0, nil
	}
	if !there {
		reg.Deleted = true
		reg.Path = strings.TrimSuffix(s.Target, deletedSuffix)
		if s.Stat.Nlink > 0 {
			if c.Travels != nil && c.Travels(s.Stat.Dev) { // where it is made again, nothing tells which of its files it was
				c.Block(s.PID, cli.WithHint(fmt.Errorf("%s is %s, a name that was removed of a file in memory that has others, which can't be saved", where(s), s.Target), "have the program open the file by a name that it still has"))
				return 0, nil
			}
			reg.Handle = reg.FH
		}
		f, err := c.openToRead(s)
		if f == nil {
			return 0, err
		}
		reg.Xattrs, reg.RWHint, err = readExtras(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return 0, err
		}
		if err := c.Content(reg.ID, string(reg.Ident), s.Link); err != nil {
			return 0, err
		}
	}
	if s.FD < 0 {
		var err error
		if reg.BuildID, err = c.buildID(s); err != nil {
			return 0, err
		}
	}
	return reg.ID, c.Emit(record.TypeReg, &reg)
}

// buildID returns the build-id of an ELF file, which is looked for once.
func (c *Collector) buildID(s *Subject) ([]byte, error) {
	key := string(ident(record.TypeReg, s.Stat.Dev, s.Stat.Ino))
	if id, ok := c.buildIDs[key]; ok {
		return id, nil
	}
	id, err := c.findBuildID(s)
	if err != nil {
		return nil, err
	}
	if c.buildIDs == nil {
		c.buildIDs = map[string][]byte{}
	}
	c.buildIDs[key] = id
	return id, nil
}

// findBuildID asks the kernel, where it knows: to open a file, somebody's lease may
// be in the way.
func (c *Collector) findBuildID(s *Subject) ([]byte, error) {
	var start, end uint64
	if n, _ := fmt.Sscanf(filepath.Base(s.Link), "%x-%x", &start, &end); n == 2 {
		if id, err := proc.BuildID(s.PID, start); !errors.Is(err, errors.ErrUnsupported) {
			return id, err
		}
		if leased, err := c.leased(s); leased || err != nil {
			return nil, err
		}
	}
	f, err := open(s.Link, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, nil // it is then compared as one that has none
	}
	defer f.Close()
	return buildIDOf(f), nil
}

func (r *Restorer) makeReg(rec *stream.Record) (object.Object, error) {
	reg, err := decoded[record.Reg](rec)
	if err != nil {
		return nil, err
	}
	if !reg.Deleted {
		return r.cutTo(reg, r.reg(reg))
	}
	if reg.Handle != nil {
		if f := r.openHandle(reg); f != nil {
			k, err := r.Depot.Keep(f)
			if err != nil {
				return nil, err
			}
			return &ghost{r: k}, nil
		}
	}
	if reg.Nlink > 0 {
		r.Note("%s was deleted but had other names, which are not found here; its contents are restored without them", reg.Path)
	}
	return newGhost(r, reg)
}

// openHandle opens a file by its handle; it returns nil if that can't be done.
func (r *Restorer) openHandle(reg *record.Reg) *os.File {
	dir, err := walk(filepath.Dir(reg.Path), unix.O_RDONLY|unix.O_DIRECTORY, false)
	if err != nil {
		return nil
	}
	defer dir.Close()
	fd, err := unix.OpenByHandleAt(int(dir.Fd()), unix.NewFileHandle(reg.Handle.Type, reg.Handle.Bytes), unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), reg.Path)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || !r.reg(reg).isSame(fd, &st) || st.Size != reg.Size || st.Mtim.Nano() != reg.MtimeNS {
		f.Close()
		return nil
	}
	return f
}

// ghost is a file without a name. w is open while its contents come in.
type ghost struct {
	object.Base
	r, w  *depot.File
	mtime time.Time
	// last is called with w when all contents are in.
	last func(w *os.File) error
}

// newGhost makes a file without a name in the folder where it was, or else in the
// one for temporary files.
func newGhost(r *Restorer, reg *record.Reg) (*ghost, error) {
	w, err := nameless(filepath.Dir(reg.Path), false)
	if err != nil {
		r.Note("%s was deleted and is restored in %s, because its own folder can't be used: %v", reg.Path, os.TempDir(), err)
		w, err = nameless(os.TempDir(), true)
	}
	if err != nil {
		return nil, fmt.Errorf("restore deleted file %s: %w", reg.Path, err)
	}
	err = errors.Join(w.Truncate(reg.Size), w.Chown(int(reg.UID), int(reg.GID)), r.setExtras(w, &reg.Stat, reg.Xattrs, reg.RWHint))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("restore deleted file %s: %w", reg.Path, err), w.Close())
	}
	g := &ghost{mtime: time.Unix(0, reg.MtimeNS), last: func(w *os.File) error { return r.setCapability(w, &reg.Stat, reg.Xattrs) }}
	if g.w, err = r.Depot.Keep(w); err == nil {
		g.r, err = r.keep(reopenKept(g.w, os.O_RDONLY))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("restore deleted file %s: %w", reg.Path, err), g.Close())
	}
	return g, nil
}

// nameless makes a file without a name in a folder. If the file system has no
// O_TMPFILE, the file has a name for a moment.
func nameless(path string, follow bool) (*os.File, error) {
	d, err := walk(path, unix.O_PATH|unix.O_DIRECTORY, follow)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer d.Close()
	dir := fmt.Sprintf("/proc/self/fd/%d", d.Fd())
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR, 0o600)
	if err == nil || !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) {
		return f, err
	}
	f, err = os.CreateTemp(dir, ".ckpt-")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

func (g *ghost) Open(flags int) (*os.File, error) { return reopenKept(g.r, flags) }

// Fill does nothing where the file was found by its handle.
func (g *ghost) Fill(rec *stream.Record, data io.Reader) error {
	if g.w == nil {
		return nil
	}
	f, err := g.w.Dup()
	if err != nil {
		return err
	}
	return object.FillContent(rec, data, f, 0, 0)
}

// Complete closes the descriptor for writing: execve(2) fails with ETXTBSY as long
// as there is one.
func (g *ghost) Complete() error {
	if g.w == nil {
		return nil
	}
	w, err := g.w.Dup()
	if err != nil {
		return err
	}
	ts := unix.NsecToTimespec(g.mtime.UnixNano())
	err = g.last(w)
	err = errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", w.Fd()), []unix.Timespec{ts, ts}, 0))
	err = errors.Join(err, w.Close(), g.w.Close())
	g.w = nil
	return err
}

func (g *ghost) Close() error { return errors.Join(g.r.Close(), g.w.Close()) }

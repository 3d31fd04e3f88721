package files

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"ckpt/internal/object"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

const procRoot = "/proc"

// procFileKind: files and folders of proc(5). They are saved by path only, without
// contents; one that belongs to a task is opened when the task is restored.
var procFileKind = Kind{
	Type: record.TypeProcFile,
	Save: func(c *Collector) Saver { return Saver{Match: isProcFile, Collect: c.procFile} },
	Restore: func(r *Restorer) Maker {
		return Maker{Kind: object.Kind{Check: r.checkProcFile, Make: r.makeProcFile}, Thing: pathThing}
	},
}

func isProcFile(s *Subject) bool {
	dev, err := procDev()
	return err == nil && s.Stat.Dev == dev && (isMode(s, unix.S_IFREG) || isMode(s, unix.S_IFDIR)) &&
		strings.HasPrefix(s.Target, procRoot+"/")
}

func (r *Restorer) checkProcFile(rec *stream.Record) []error {
	p, err := decode[record.ProcFile](rec)
	if err == nil {
		err = r.reachable(p)
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

func (r *Restorer) makeProcFile(rec *stream.Record) (object.Object, error) {
	p, err := decode[record.ProcFile](rec)
	if err != nil {
		return nil, err
	}
	return r.procFile(p), nil
}

func (r *Restorer) procFile(p *record.ProcFile) *procFile {
	return &procFile{r: r, objref: p.Objref, path: p.Path}
}

var procDev = sync.OnceValues(func() (uint64, error) {
	var st unix.Stat_t
	err := unix.Stat(procRoot, &st)
	return st.Dev, err
})

func (c *Collector) procFile(s *Subject) (uint64, error) {
	block := func(format string, args ...any) (uint64, error) {
		c.Block(s.PID, fmt.Errorf("%s is %s, "+format, append([]any{where(s), s.Target}, args...)...))
		return 0, nil
	}
	if name, cut := strings.CutSuffix(s.Target, deletedSuffix); cut {
		if there, err := c.leadsTo(name, &s.Stat); there && err == nil {
			s.Target = name // the kernel drops the dentries below /proc/PID/net with each lookup
		}
	}
	owner, thread := procIDs(s.Target)
	there, known := c.isThere(s)
	if !known {
		return 0, nil
	}
	switch {
	case owner != 0 && c.UsualInTree != nil:
		return block("whose process is shown there under the id that it has outside of its pid namespace, which can't be saved")
	case !there && owner == 0:
		return block("which no longer exists and can't be saved")
	case !there && thread != 0 && c.InTree(owner):
		return block("of a thread that has ended, which can't be saved")
	case !there:
		return block("of a process that has ended, which can't be saved")
	case owner != 0 && !c.InTree(owner):
		return block("of a process that is not saved with it, which can't be saved")
	case thread != 0 && !c.InTree(thread):
		return block("of a thread that is not saved with it, which can't be saved")
	case strings.HasPrefix(s.Target, procRoot+"/pressure/") && s.Info.Flags&unix.O_ACCMODE != unix.O_RDONLY:
		return block("open for a pressure trigger, which can't be saved")
	}
	p := record.ProcFile{Object: record.Object{ID: c.NewID(), Ident: ident(record.TypeProcFile, s.Stat.Dev, s.Stat.Ino)}, Path: s.Target, Mode: s.Stat.Mode}
	return p.ID, c.Emit(record.TypeProcFile, &p)
}

// procIDs returns the process and the thread that a file of proc(5) belongs to, 0
// for none: /proc/PID/… and /proc/PID/task/TID/….
func procIDs(name string) (pid, tid int) {
	name = strings.TrimSuffix(strings.TrimPrefix(name, procRoot+"/"), deletedSuffix)
	parts := strings.Split(name, "/")
	pid, err := strconv.Atoi(parts[0])
	if err != nil {
		return 0, 0
	}
	if len(parts) > 2 && parts[1] == "task" {
		tid, _ = strconv.Atoi(parts[2])
	}
	return pid, tid
}

// reachable returns why a file of proc(5) can't be opened.
func (r *Restorer) reachable(p *record.ProcFile) error {
	if err := checkPath(p.Path); err != nil {
		return err
	}
	if !strings.HasPrefix(p.Path, procRoot+"/") || path.Clean(p.Path) != p.Path {
		return fmt.Errorf("%w: path %q", stream.ErrCorrupt, p.Path)
	}
	owner, thread := procIDs(p.Path)
	for _, id := range []int{owner, thread} {
		if id != 0 && (r.InTree == nil || !r.InTree(id)) {
			return fmt.Errorf("%w: %s, and the image has no task %d", stream.ErrCorrupt, p.Path, id)
		}
	}
	if owner != 0 || r.Paper {
		return nil
	}
	f, err := r.procFile(p).Open(unix.O_PATH)
	if err != nil {
		return fmt.Errorf("%s, which the program had open, can't be opened: %w", p.Path, err)
	}
	return f.Close()
}

// procFile is a file of proc(5). It can be opened once its task is there.
type procFile struct {
	object.Base
	r      *Restorer
	objref uint64
	path   string
}

// Late: when all descriptors are installed; a file in fdinfo last, because it
// exists only once its descriptor does.
func (p *procFile) Late() int {
	if strings.Contains(p.path, "/fdinfo/") {
		return 2
	}
	return 1
}

// Open opens it with the credentials of its User, because what such a file shows
// depends on the capabilities of its opener. A file of a task is opened before the
// task has its credentials, so it is opened with our ids and the capabilities to
// open it.
func (p *procFile) Open(flags int) (f *os.File, err error) {
	u := p.r.Users[p.objref]
	if u == nil {
		return nil, fmt.Errorf("%s, which the program had open, has no process in the image with whose rights it could be opened", p.path)
	}
	as := u.identity()
	if owner, _ := procIDs(p.path); owner != 0 {
		const ofTasks = 1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
		as = &sys.FSIdentity{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Caps: as.Caps | ofTasks}
		groups, err := os.Getgroups()
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			as.Groups = append(as.Groups, uint32(g))
		}
	}
	if err := p.r.become(as, p.path); err != nil {
		return nil, err
	}
	err = sys.AsFS(as, func() error {
		f, err = p.open(flags)
		return err
	})
	return f, err
}

// open opens it without following the links in proc(5).
func (p *procFile) open(flags int) (*os.File, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_NOCTTY | unix.O_CLOEXEC), Resolve: unix.RESOLVE_NO_SYMLINKS}
	if flags&unix.O_PATH != 0 {
		how.Flags = uint64(flags&(unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW) | unix.O_CLOEXEC) // openat2(2) takes no others
	}
	fd, err := openFromRoot(p.path, &how)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: p.path, Err: err}
	}
	f := os.NewFile(uintptr(fd), p.path)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return nil, errors.Join(os.NewSyscallError("fstatfs", err), f.Close())
	}
	if fs.Type != unix.PROC_SUPER_MAGIC {
		return nil, errors.Join(fmt.Errorf("%s is not a file of proc(5)", p.path), f.Close())
	}
	return f, nil
}

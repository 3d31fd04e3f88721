package files

import (
	"fmt"
	"math/bits"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/object"
	"ckpt/stream"
	"ckpt/stream/record"
)

const memfdPrefix = "/memfd:"

// memfdKind: files of memfd_create(2). No path leads to one, and it has no links:
// that tells it from a file in / with such a name.
var memfdKind = Kind{
	Type:    record.TypeMemFD,
	Data:    []record.Type{record.TypeContent},
	Save:    func(c *Collector) Saver { return Saver{Match: isMemFD, Collect: c.memFD} },
	Restore: func(r *Restorer) Maker { return Maker{Kind: object.Kind{Check: r.checkMemFD, Make: r.makeMemFD}} },
}

func isMemFD(s *Subject) bool {
	return isMode(s, unix.S_IFREG) && s.Stat.Nlink == 0 && strings.HasPrefix(s.Target, memfdPrefix) && strings.HasSuffix(s.Target, deletedSuffix)
}

func (c *Collector) memFD(s *Subject) (uint64, error) {
	f, err := c.openToRead(s)
	if f == nil {
		return 0, err
	}
	defer f.Close()
	m := record.MemFD{
		Object: record.Object{ID: c.NewID(), Ident: ident(record.TypeMemFD, s.Stat.Dev, s.Stat.Ino)},
		Name:   strings.TrimSuffix(strings.TrimPrefix(s.Target, memfdPrefix), deletedSuffix),
		Size:   s.Stat.Size, Mode: s.Stat.Mode, UID: s.Stat.Uid, GID: s.Stat.Gid, MtimeNS: s.Stat.Mtim.Nano(),
	}
	if m.Seals, err = unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); err != nil {
		c.Block(s.PID, fmt.Errorf("%s is %s without seals (%w), which can't be saved", where(s), Describe(s), err))
		return 0, nil
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return 0, os.NewSyscallError("fstatfs", err)
	}
	if fs.Type == unix.HUGETLBFS_MAGIC {
		m.HugeTLB = int64(fs.Bsize)
	}
	if err := c.Content(m.ID, string(m.Ident), s.Link); err != nil {
		return 0, err
	}
	return m.ID, c.Emit(record.TypeMemFD, &m)
}

const (
	maxMemFDName = 249 // memfd_create(2)
	// allSeals are F_SEAL_SEAL, SHRINK, GROW, WRITE, FUTURE_WRITE and EXEC.
	allSeals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_EXEC
)

func (r *Restorer) checkMemFD(rec *stream.Record) []error {
	m, err := decode[record.MemFD](rec)
	switch {
	case err != nil:
	case m.Size < 0, len(m.Name) > maxMemFDName, strings.Contains(m.Name, "\x00"),
		m.HugeTLB < 0, m.HugeTLB > 0 && (bits.OnesCount64(uint64(m.HugeTLB)) != 1 || m.Size%m.HugeTLB != 0):
		err = fmt.Errorf("%w: memfd %q of %d bytes", stream.ErrCorrupt, m.Name, m.Size)
	case m.Seals&^allSeals != 0:
		err = fmt.Errorf("memfd %s has seals (%#x) that are not known to this version", m.Name, m.Seals)
	default:
		err = r.runs(m.Objref, memfdPrefix+m.Name, m.Mode)
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

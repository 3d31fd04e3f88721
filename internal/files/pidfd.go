package files

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/kcmp"
	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/internal/puppet"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// pidfdKind: pidfds. The object is what they stand for; each is opened anew when all
// tasks are there. For a process that has ended and was waited for another one ends,
// with the same status. One that is not in the image is found again by its id and start
// time, and else has ended meanwhile, which is what the program sees then.
var pidfdKind = Kind{
	Type: record.TypePidFD,
	Save: func(c *Collector) Saver { return Saver{Match: isPidFD, Collect: c.pidFD} },
	Restore: func(r *Restorer) Maker {
		return Maker{Kind: object.Kind{Check: r.checkPidFD, Make: r.makePidFD}}
	},
}

// isPidFD knows the link's text of Linux 6.9, too.
func isPidFD(s *Subject) bool {
	return isAnon(s, "[pidfd]") || s.FD >= 0 && strings.HasPrefix(s.Target, "pidfd:[")
}

// pidfdThread is PIDFD_THREAD. Of all descriptions only that of a pidfd can have this
// flag: open(2) does not keep it.
const pidfdThread = unix.O_EXCL

func (c *Collector) pidFD(s *Subject) (uint64, error) {
	if c.blockPath(s) {
		return 0, nil
	}
	pid, started, err := c.behindPidFD(s)
	if err != nil {
		return 0, err
	}
	rec := record.PidFD{Object: record.Object{ID: c.NewID()}, PID: max(pid, 0), StartTime: started}
	switch {
	case pid == 0:
		c.Block(s.PID, fmt.Errorf("fd %d is a pidfd of a process in another pid namespace, which can't be saved", s.FD))
		return 0, nil
	case pid > 0:
		rec.Ident = ident(record.TypePidFD, 0, uint64(pid))
		if started != 0 {
			c.Watched = append(c.Watched, Watched{s.PID, s.FD, pid})
		}
	default:
		if err := endedPidFD(s, &rec); err != nil {
			return 0, err
		}
	}
	return rec.ID, c.Emit(record.TypePidFD, &rec)
}

// behindPidFD returns what a pidfd stands for, see FDInfo.PidFD, and when it started if it
// is not in the tree: then it may end at any time.
func (c *Collector) behindPidFD(s *Subject) (pid int, started uint64, err error) {
	for range 2 {
		info, err := proc.ReadFDInfo(s.PID, s.FD)
		if err != nil {
			return 0, 0, err
		}
		if pid, err = info.PidFD(); err != nil || pid <= 0 || c.InTree(pid) {
			return pid, 0, err
		}
		if stat, err := proc.ReadStat(pid); err == nil {
			return pid, stat.StartTime, nil
		}
	}
	return 0, 0, fmt.Errorf("pid %d, which it stands for, can't be looked at in /proc", pid)
}

// endedPidFD fills in the record of a process that was waited for. Before Linux 6.9 all
// pidfds share one inode, and nothing tells which stand for the same process.
func endedPidFD(s *Subject, rec *record.PidFD) error {
	f, err := borrow(s)
	if err != nil {
		return err
	}
	defer f.Close()
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	if fs.Type == unix.PID_FS_MAGIC {
		rec.Ident = binary.NativeEndian.AppendUint64(ident(record.TypePidFD, s.Stat.Dev, s.Stat.Ino), 0)
	} else {
		rec.Genid, rec.Kcmp = Genid(s.Stat.Dev, s.Stat.Ino, s.Info.Pos), &record.Kcmp{Type: int(kcmp.File), TID: s.PID, Idx: uint64(s.FD)}
	}
	if status := unix.WaitStatus(sys.EndedStatus(int(f.Fd()))); puppet.CanEnd(status) {
		rec.Status = int(status)
	}
	return nil
}

// Watched is a pidfd of a process that is not in the tree.
type Watched struct{ PID, FD, Other int }

func (r *Restorer) checkPidFD(rec *stream.Record) []error {
	p, err := decode[record.PidFD](rec)
	switch {
	case err != nil:
	case p.PID < 0 || p.PID > maxPID || p.PID == 0 && (p.StartTime != 0 || p.Status>>16 != 0 || !puppet.CanEnd(unix.WaitStatus(p.Status))):
		err = fmt.Errorf("%w: pidfd of pid %d, started at %d, that ended with status %#x", stream.ErrCorrupt, p.PID, p.StartTime, p.Status)
	case p.PID > 0 && p.StartTime == 0 && (r.InTree == nil || !r.InTree(p.PID)):
		err = fmt.Errorf("%w: pidfd of pid %d, which is not in the image", stream.ErrCorrupt, p.PID)
	case p.StartTime != 0 && r.Apart:
		err = cli.WithHint(fmt.Errorf("a pidfd is of pid %d, which is not in the image and can't be seen from a pid namespace of the program's own", p.PID),
			"restore it with --pids keep, or replace the descriptor: --end 'pid N fd N=null'")
	case p.StartTime != 0 && !r.Paper && !r.stillThere(p):
		r.Note("pid %d, which the program watches by a pidfd and which is not in the image, has ended; the program sees that it has", p.PID)
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

// stillThere reports whether a process that is not in the image is the one it was.
func (r *Restorer) stillThere(p *record.PidFD) bool {
	stat, err := proc.ReadStat(p.PID)
	return err == nil && r.SameBoot && stat.StartTime == p.StartTime
}

func (r *Restorer) makePidFD(rec *stream.Record) (object.Object, error) {
	p, err := decode[record.PidFD](rec)
	if err != nil {
		return nil, err
	}
	if p.PID > 0 && (p.StartTime == 0 || r.stillThere(p)) {
		return &pidfd{pid: p.PID, inside: p.StartTime == 0}, nil
	}
	// It ends when all pidfds of it are open.
	stand, _, err := r.Depot.Start(nil)
	if err != nil {
		return nil, fmt.Errorf("start a process that stands for one that has ended: %w", err)
	}
	return &pidfd{pid: stand.Tracee().PID, stand: stand, status: unix.WaitStatus(p.Status)}, nil
}

// pidfd is what pidfds stand for.
type pidfd struct {
	object.Base
	pid    int
	inside bool           // it is in the image
	stand  *puppet.Puppet // stands for it, and is to end with status; nil if it is alive
	status unix.WaitStatus
}

// Late: one of the image must be there.
func (p *pidfd) Late() int {
	if p.inside {
		return 1
	}
	return 0
}

func (p *pidfd) Open(flags int) (*os.File, error) {
	fd, err := unix.PidfdOpen(p.pid, flags&(pidfdThread|unix.O_NONBLOCK))
	if err != nil {
		return nil, fmt.Errorf("open a pidfd of pid %d: %w", p.pid, err)
	}
	f := os.NewFile(uintptr(fd), "a pidfd")
	return f, nil
}

func (p *pidfd) Complete() error {
	if p.stand == nil {
		return nil
	}
	stand := p.stand
	p.stand = nil
	return stand.EndAs(p.status)
}

func (p *pidfd) Close() error {
	if p.stand == nil {
		return nil
	}
	return p.stand.Tracee().Kill()
}

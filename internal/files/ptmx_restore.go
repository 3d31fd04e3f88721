package files

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/depot"
	"ckpt/internal/object"
	"ckpt/internal/puppet"
	"ckpt/internal/sys"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

func (r *Restorer) checkPTMX(rec *stream.Record) []error {
	p, err := decode[record.PTMX](rec)
	if err != nil {
		return []error{err}
	}
	switch {
	case p.Number < 0 || p.Number >= ptyNumberMax, len(p.Termios) != sys.Termios2Bytes,
		len(p.Fixed) != 0 && len(p.Fixed) != sys.LockedTermiosBytes, p.PGID != 0 && p.SID == 0, p.SID < 0 || p.PGID < 0:
		err = fmt.Errorf("%w: pseudoterminal %d of session %d with group %d and settings of %d and %d bytes", stream.ErrCorrupt, p.Number, p.SID, p.PGID, len(p.Termios), len(p.Fixed))
	case p.SID != 0 && (r.InTree == nil || !r.InTree(p.SID)):
		err = fmt.Errorf("%w: pseudoterminal %d controls session %d, whose leader is not in the image", stream.ErrCorrupt, p.Number, p.SID)
	default:
		err = errors.Join(checkPath(p.Path), checkPath(p.Slave.Path))
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

func (r *Restorer) ptmxHere(rec *stream.Record) []error {
	p, err := decode[record.PTMX](rec)
	if err != nil || len(p.Fixed) == 0 {
		return nil
	}
	return r.Own.NeedHost(caps.Of(unix.CAP_SYS_ADMIN), p.Slave.Path, "lock settings of %s")
}

func ptmxThing(rec *stream.Record) (*Thing, error) {
	p, err := decode[record.PTMX](rec)
	if err != nil {
		return nil, err
	}
	return &Thing{Name: p.Path, Paired: true}, checkPath(p.Path)
}

// ptyMaker makes the pairs of a restart, for their masters and for terminals.
type ptyMaker struct {
	*Restorer
	pairs map[uint64]*pty // by the device number of the terminal
}

// ptys is called when the makers of all kinds are there.
func (r *Restorer) ptys() *ptyMaker { return r.makers[record.TypePTMX].State.(*ptyMaker) }

// pty is a restored pair.
type pty struct {
	r      *Restorer
	master *depot.File
	number int          // it got
	rec    *record.PTMX // nil until the record of its master comes
}

// pty returns the pair that a terminal was a side of, which is made for the first of the
// two.
func (m *ptyMaker) pty(line uint64) (*pty, error) {
	if p := m.pairs[line]; p != nil {
		return p, nil
	}
	fd, err := openMaster(int(unix.Minor(line)))
	if err != nil {
		return nil, fmt.Errorf("make a pseudoterminal: %w", err)
	}
	p := &pty{r: m.Restorer}
	if p.number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN); err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a pseudoterminal: %w", err), unix.Close(fd))
	}
	if p.master, err = m.Depot.Keep(os.NewFile(uintptr(fd), "a pseudoterminal")); err != nil {
		return nil, err
	}
	m.pairs[line] = p
	return p, nil
}

// mostMasters bounds how many pairs are made for a moment, for others need some, too.
const mostMasters = 256

// openMaster makes a pair, with a number if that is free and not far up. The kernel gives
// the lowest free one, so those below are taken for a moment.
func openMaster(number int) (fd int, err error) {
	var low []int
	defer func() {
		for _, fd := range low {
			unix.Close(fd)
		}
	}()
	for {
		fd, err := openPTMX()
		if err == nil {
			n, e := unix.IoctlGetInt(fd, unix.TIOCGPTN)
			if e == nil && n == number {
				return fd, nil
			}
			low = append(low, fd)
			if e == nil && n < number && len(low) < mostMasters {
				continue
			}
		}
		if len(low) == 0 {
			return -1, fmt.Errorf("%s: %w", ptmxPath, err)
		}
		fd, low = low[0], low[1:] // the number is taken
		return fd, nil
	}
}

// openPTMX makes a pair of the devpts file system that the tree has at /dev/pts: a device
// /dev/ptmx looks for that beside itself. In a container it is mostly a link to one in there.
func openPTMX() (int, error) {
	f, err := openDevice(ptmxPath)
	if errors.Is(err, unix.ELOOP) {
		f, err = openDevice(ptsDir + "ptmx")
	}
	if err != nil {
		return -1, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(ownTTYMajor, ptmxMinor) {
		return -1, errors.Join(errors.New("it is no master of pseudoterminals"), err)
	}
	// The other side gets another owner and mode, so it must not be that of others: a file of
	// another devpts may be mounted here.
	if in, err := isOfPTS(f); err != nil || !in {
		return -1, errors.Join(fmt.Errorf("it is of another file system than %s", ptsDir), err)
	}
	return unix.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
}

// isOfPTS reports whether a file, if it is of a devpts file system, is of that at /dev/pts.
func isOfPTS(f *os.File) (bool, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil || fs.Type != unix.DEVPTS_SUPER_MAGIC {
		return err == nil, err
	}
	var own unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &own); err != nil {
		return false, os.NewSyscallError("fstat", err)
	}
	st, err := statDevice(strings.TrimSuffix(ptsDir, "/"))
	return st.Dev == own.Dev, err
}

// slave opens the other side of the pair. TIOCGPTPEER would leave O_CLOEXEC among the
// flags of the description for good.
func (p *pty) slave(flags int) (*os.File, error) {
	path, err := p.path()
	if err != nil {
		return nil, err
	}
	defer path.Close()
	f, err := open(fmt.Sprintf("/proc/self/fd/%d", path.Fd()), flags&(unix.O_ACCMODE|statusFlags)|unix.O_NOCTTY)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path.Name(), err)
	}
	return f, nil
}

// ptySlave is a restored terminal whose master is restored, too.
type ptySlave struct {
	object.Base
	pty       *pty
	exclusive bool
}

func (s *ptySlave) Open(flags int) (*os.File, error) {
	if flags&unix.O_PATH != 0 {
		return s.pty.path()
	}
	return s.pty.slave(flags)
}

// Complete refuses a terminal whose master the stream promised and does not have.
func (s *ptySlave) Complete() error {
	if s.pty.rec == nil {
		return fmt.Errorf("%w: the master of the pseudoterminal %d is not in the image", stream.ErrCorrupt, s.pty.number)
	}
	return nil
}

// Commit keeps others from opening it again.
func (s *ptySlave) Commit() error {
	if !s.exclusive {
		return nil
	}
	f, err := s.pty.slave(unix.O_RDWR)
	if err != nil {
		return err
	}
	return errors.Join(os.NewSyscallError("TIOCEXCL", unix.IoctlSetInt(int(f.Fd()), unix.TIOCEXCL, 0)), f.Close())
}

// ptmx is a restored master. Its pair holds the reference.
type ptmx struct {
	single
	pty *pty
}

func (m *ptyMaker) make(rec *stream.Record) (object.Object, error) {
	d, err := decode[record.PTMX](rec)
	if err != nil {
		return nil, err
	}
	p, err := m.pty(unix.Mkdev(ptsMajor, uint32(d.Number)))
	if err != nil {
		return nil, err
	}
	if p.rec != nil {
		return nil, fmt.Errorf("%w: two masters of the pseudoterminal %d", stream.ErrCorrupt, d.Number)
	}
	if p.rec = d; p.number != d.Number {
		m.Note("the terminal %s is %s%d from now on, because somebody else has the old one", d.Slave.Path, ptsDir, p.number)
	}
	return &ptmx{single{f: p.master}, p}, nil
}

// Complete gives the pair its settings.
func (m *ptmx) Complete() error {
	fd, err := m.f.Fd()
	if err != nil {
		return err
	}
	rec := m.pty.rec
	if err := sys.SetTermios(fd, rec.Termios); err != nil {
		return err
	}
	ws := unix.Winsize{Row: rec.Rows, Col: rec.Cols, Xpixel: rec.XPixel, Ypixel: rec.YPixel}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &ws); err != nil {
		return os.NewSyscallError("TIOCSWINSZ", err)
	}
	if rec.Packet {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCPKT, 1); err != nil {
			return os.NewSyscallError("TIOCPKT", err)
		}
	}
	return m.owner()
}

// owner gives the file of the other side its owner and mode, as grantpt(3) and login(1)
// do; who has had that open and closed it is told by the end of the file.
func (m *ptmx) owner() error {
	rec := m.pty.rec
	f, err := m.pty.path()
	if err != nil {
		return err
	}
	defer f.Close()
	path := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if err := unix.Chmod(path, rec.Slave.Mode&0o7777); err != nil {
		return fmt.Errorf("mode of %s: %w", f.Name(), err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Uid != rec.Slave.UID || st.Gid != rec.Slave.GID {
		err = unix.Chown(path, int(rec.Slave.UID), int(rec.Slave.GID))
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
			m.pty.r.Note("%s belongs to user %d from now on: giving it back to user %d takes CAP_CHOWN", f.Name(), st.Uid, rec.Slave.UID)
			err = nil
		}
		if err != nil {
			return fmt.Errorf("owner of %s: %w", f.Name(), err)
		}
	}
	if !rec.HungUp {
		return nil
	}
	s, err := m.pty.slave(unix.O_RDWR)
	if err != nil {
		return err
	}
	return s.Close()
}

// path returns an O_PATH descriptor of the file of the other side, which does not open
// that.
func (p *pty) path() (*os.File, error) {
	f, err := openDevice(ptsDir + strconv.Itoa(p.number))
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Rdev != unix.Mkdev(ptsMajor, uint32(p.number)) {
		return nil, errors.Join(fmt.Errorf("%s is not the terminal that %s gives here", f.Name(), ptmxPath), err, f.Close())
	}
	return f, nil
}

// Controls makes a puppet that has begun a session have the terminal that controls it.
// Its children, which are born later, inherit that.
func (r *Restorer) Controls(p *puppet.Puppet, sid int) error {
	for _, pair := range r.ptys().pairs {
		if pair.rec == nil || pair.rec.SID != sid {
			continue
		}
		return pair.inside(p, func(fd uint64) error {
			return tracee.CallOK(p, "get its controlling terminal", unix.SYS_IOCTL, fd, unix.TIOCSCTTY, 0)
		})
	}
	return nil
}

// inside calls do with a descriptor of the other side in a puppet.
func (p *pty) inside(in *puppet.Puppet, do func(fd uint64) error) error {
	f, err := p.slave(unix.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := in.Give(int(f.Fd()))
	if err != nil {
		return err
	}
	return errors.Join(do(uint64(n)), tracee.CallOK(in, "close", unix.SYS_CLOSE, uint64(n)), in.ClosePidfd())
}

// Attach sets the foreground process group, from within the session.
func (m *ptmx) Attach(tasks object.Tasks) error {
	rec := m.pty.rec
	p := tasks.Puppet(rec.SID)
	if p == nil || rec.PGID == 0 || !m.pty.r.HasGroup(rec.SID, rec.PGID) {
		return nil
	}
	return m.pty.inside(p, func(fd uint64) error {
		at := p.Scratch().Addr
		if err := p.Tracee().WriteMem(at, []byte{byte(rec.PGID), byte(rec.PGID >> 8), byte(rec.PGID >> 16), byte(rec.PGID >> 24)}); err != nil {
			return err
		}
		return tracee.CallOK(p, "set the foreground group of its terminal", unix.SYS_IOCTL, fd, unix.TIOCSPGRP, at)
	})
}

// Commit sets what would have kept us from opening its other side, and locks settings.
func (m *ptmx) Commit() error {
	rec := m.pty.rec
	fd, err := m.f.Fd()
	if err != nil {
		return err
	}
	if len(rec.Fixed) > 0 {
		err = sys.SetLockedTermios(fd, rec.Fixed)
	}
	if rec.Locked {
		err = errors.Join(err, os.NewSyscallError("TIOCSPTLCK", unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 1)))
	}
	return err
}

package files

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/object"
	"ckpt/stream"
	"ckpt/stream/record"
)

// memfd is a restored memfd.
type memfd struct {
	single
	rec   *record.MemFD
	given bool // some FILE has the description that memfd_create(2) made
}

func (r *Restorer) makeMemFD(rec *stream.Record) (object.Object, error) {
	m, err := decode[record.MemFD](rec)
	if err != nil {
		return nil, err
	}
	f, err := r.newMemFD(m)
	if err != nil {
		return nil, fmt.Errorf("restore memfd %s: %w", m.Name, err)
	}
	obj := &memfd{rec: m}
	if obj.f, err = r.Depot.Keep(f); err != nil {
		return nil, err
	}
	return obj, nil
}

func (r *Restorer) newMemFD(m *record.MemFD) (*os.File, error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	if m.HugeTLB > 0 {
		flags |= unix.MFD_HUGETLB | bits.TrailingZeros64(uint64(m.HugeTLB))<<unix.MFD_HUGE_SHIFT
	}
	// Kernels before 6.3 know neither flag, and later ones may be configured
	// (vm.memfd_noexec) to deny MFD_EXEC.
	exec := unix.MFD_EXEC
	if m.Seals&unix.F_SEAL_EXEC != 0 && m.Mode&0o111 == 0 {
		exec = unix.MFD_NOEXEC_SEAL
	}
	fd, err := unix.MemfdCreate(m.Name, flags|exec)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(m.Name, flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), memfdPrefix+m.Name)
	err = errors.Join(f.Truncate(m.Size), setMode(fd, m.Mode), r.chown(f, m.UID, m.GID, memfdPrefix+m.Name))
	if err == nil {
		err = setMode(fd, m.Mode) // chown(2) clears set-user-id bits
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// setMode sets the permissions only if they differ, because they may be sealed.
func setMode(fd int, mode uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&0o7777 == mode&0o7777 {
		return os.NewSyscallError("fstat", err)
	}
	return os.NewSyscallError("fchmod", unix.Fchmod(fd, mode&0o7777))
}

// Open opens it again. The first FILE that is open for reading and writing gets
// the description that memfd_create(2) made: unlike one from open(2), it does not
// make execve(2) of the file fail with ETXTBSY.
func (m *memfd) Open(flags int) (*os.File, error) {
	if !m.given && flags&^statusFlags == unix.O_RDWR {
		m.given = true
		return m.single.Open(flags)
	}
	return reopenKept(m.f, flags)
}

// Fill writes through a description of our own, because the program's may append.
func (m *memfd) Fill(rec *stream.Record, data io.Reader) error {
	f, err := reopenKept(m.f, unix.O_RDWR)
	if err != nil {
		return err
	}
	return object.FillContent(rec, data, f, m.rec.HugeTLB, m.rec.Size)
}

// Seal adds the seals. Afterwards it may be impossible to write to it or map it.
func (m *memfd) Seal() error {
	fd, err := m.f.Fd()
	if err != nil {
		return err
	}
	ts := unix.NsecToTimespec(m.rec.MtimeNS)
	err = unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), []unix.Timespec{ts, ts}, 0)
	now, e := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err = errors.Join(err, e); err == nil && now != m.rec.Seals {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, m.rec.Seals)
	}
	if err != nil {
		return fmt.Errorf("seal memfd %s: %w", m.rec.Name, err)
	}
	return nil
}

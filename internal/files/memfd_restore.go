package files

import (
	"errors"
	"fmt"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/stream"
)

// memfd is a live one. Its contents go in, and its seals on, by w.
type memfd struct {
	single
	rec   *stream.MemFD
	w     *os.File
	given bool // some FILE has the description it was made with
}

func restoreMemFD(r *Restorer, rec *stream.Record) (Inode, error) {
	m, err := decode[stream.MemFD](rec)
	if err != nil {
		return nil, err
	}
	obj, err := r.newMemFD(m)
	if err != nil {
		return nil, fmt.Errorf("restore memfd %s: %w", m.Name, err)
	}
	r.memfds = append(r.memfds, obj)
	return obj, nil
}

func (r *Restorer) newMemFD(m *stream.MemFD) (*memfd, error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	if m.HugeTLB > 0 {
		flags |= unix.MFD_HUGETLB | bits.TrailingZeros64(uint64(m.HugeTLB))<<unix.MFD_HUGE_SHIFT
	}
	// Kernels before 6.3 know neither flag, and may be told to (vm.memfd_noexec)
	// deny the one.
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
	obj := &memfd{single: *newSingle(fd, memfdPrefix+m.Name), rec: m}
	var st unix.Stat_t
	err = errors.Join(obj.f.Truncate(m.Size), unix.Fstat(fd, &st))
	if err == nil && st.Mode&0o7777 != m.Mode&0o7777 {
		err = unix.Fchmod(fd, m.Mode&0o7777)
	}
	if err == nil {
		err = r.giveOwner(obj.f, m.UID, m.GID, memfdPrefix+m.Name)
	}
	if err == nil {
		obj.w, err = reopen(obj.f, os.O_RDWR)
	}
	if err != nil {
		return nil, errors.Join(err, obj.Close())
	}
	return obj, nil
}

// Open opens it anew. The description it was made with goes to the first that
// may write: unlike one that was opened, it does not keep the file from being
// executed.
func (m *memfd) Open(flags int) (*os.File, error) {
	if !m.given && flags&^statusFlags == unix.O_RDWR {
		m.given = true
		return m.single.Open(flags)
	}
	return reopen(m.f, flags)
}

// ContentFile is where the bytes go.
func (m *memfd) ContentFile() (*os.File, error) { return m.w, nil }

// Seal is called when all contents are in and all mappings made: seals forbid
// both.
func (m *memfd) Seal() error {
	if m.w == nil {
		return nil
	}
	ts := unix.NsecToTimespec(m.rec.MtimeNS)
	err := unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", m.w.Fd()), []unix.Timespec{ts, ts}, 0)
	now, e := unix.FcntlInt(m.w.Fd(), unix.F_GET_SEALS, 0)
	if err = errors.Join(err, e); err == nil && now != m.rec.Seals {
		_, err = unix.FcntlInt(m.w.Fd(), unix.F_ADD_SEALS, m.rec.Seals)
	}
	if err = errors.Join(err, m.w.Close()); err != nil {
		return fmt.Errorf("seal memfd %s: %w", m.rec.Name, err)
	}
	m.w = nil
	return nil
}

func (m *memfd) Close() error {
	if m.w != nil {
		return errors.Join(m.f.Close(), m.w.Close())
	}
	return m.f.Close()
}

// Seal gives files of memfd_create(2) their seals. It is called when all
// contents are in and all tasks have their mappings, and before a task gets
// its executable.
func (r *Restorer) Seal() error {
	for _, m := range r.memfds {
		if err := m.Seal(); err != nil {
			return err
		}
	}
	r.memfds = nil
	return nil
}

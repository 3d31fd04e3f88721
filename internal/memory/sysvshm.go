package memory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/depot"
	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

const (
	shmDest   = 0o1000 // SHM_DEST: it is destroyed when the last process detaches it
	shmLocked = 0o2000 // SHM_LOCKED: it is not swapped out
	shmLock   = 11     // SHM_LOCK of shmctl(2)
	shmRdonly = 0o10000
	shmExec   = 0o100000
)

func isSysVShm(m *proc.Mapping) bool {
	return m.Shared && strings.HasPrefix(m.Path, "/SYSV") && strings.HasSuffix(m.Path, " (deleted)") && kernelsOwn(m)
}

// collectSysVShm describes the System V segment behind a mapping. Its id is the inode
// number.
func collectSysVShm(c *Collector, m *proc.Mapping, v *record.VMA) error {
	var d unix.SysvShmDesc
	id := int(m.Inode)
	if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &d); err != nil && c.OwnIPC {
		return nil // of another namespace, for which there is a blocker
	} else if err != nil {
		return fmt.Errorf("shared memory %d (System V) of pid %d: %w", id, c.PID, err)
	}
	ident := binary.LittleEndian.AppendUint64([]byte("sysvshm"), m.Dev)
	ident = binary.LittleEndian.AppendUint64(ident, m.Inode)
	v.Refs.Inode = c.NewID()
	if err := c.Content(v.Refs.Inode, string(ident), m.Link(c.At)); err != nil {
		return fmt.Errorf("shared memory (System V) of pid %d: %w", c.PID, err)
	}
	if hugePage(m) == 0 {
		c.Tail(v.Refs.Inode, string(ident), m.Link(c.PID))
	}
	s := &record.SysVShm{
		Object:   record.Object{ID: v.Refs.Inode, Ident: ident},
		HugePage: hugePage(m),
		ShmID:    id, Key: d.Perm.Key, Size: uint64(d.Segsz), Mode: uint32(d.Perm.Mode), UID: d.Perm.Uid, GID: d.Perm.Gid,
	}
	if c.OwnIPC {
		s.Creator = &record.SysVCreator{UID: d.Perm.Cuid, GID: d.Perm.Cgid}
	}
	return c.Emit(record.TypeSysVShm, s)
}

// IsSysVShm reports whether a mapping is of a System V segment, and with which id.
func IsSysVShm(m *proc.Mapping) (id int, is bool) { return int(m.Inode), isSysVShm(m) }

// attach adds shmat(2) in the puppet. What the process had unmapped of the segment is
// unmapped again. A part that does not begin with the segment is attached wherever there is
// room, and moved to its place.
func (r *Restorer) attach(v *record.VMA) error {
	f, err := r.Open(v.Refs.Inode, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	prot, how := uint32(unix.PROT_READ|unix.PROT_WRITE), uint64(0)
	if !has(v, flagMayWrite) {
		prot, how = unix.PROT_READ, shmRdonly
	}
	if v.Prot&unix.PROT_EXEC != 0 {
		prot, how = prot|unix.PROT_EXEC, how|shmExec
	}
	size := uint64(st.Size+pageMask) &^ pageMask
	what := fmt.Sprintf("attach System V shared memory %d at %x", st.Ino, v.Start)
	at := v.Start - v.Offset
	if v.Offset == 0 {
		r.at(v, r.call(what, unix.SYS_SHMAT, st.Ino, at, how), what)
	} else if at, err = r.attachAside(v, what, st.Ino, how, size); err != nil {
		return err
	}
	if end := at + v.Offset + v.End - v.Start; at+size > end {
		r.call("unmap the rest of shared memory", unix.SYS_MUNMAP, end, at+size-end)
	}
	if prot != v.Prot {
		r.call(fmt.Sprintf("protect its mapping at %x", v.Start), unix.SYS_MPROTECT, v.Start, v.End-v.Start, uint64(v.Prot))
	}
	return nil
}

// attachAside attaches a segment wherever there is room, and moves the part that v is of it
// to its place. What is behind that is left at the address that it returns.
func (r *Restorer) attachAside(v *record.VMA, what string, id, how, size uint64) (uint64, error) {
	if v.Offset >= size || v.End-v.Start > size-v.Offset {
		return 0, fmt.Errorf("%s: it has %d bytes only", what, size)
	}
	c := r.call(what, unix.SYS_SHMAT, id, 0, how)
	if err := r.make(); err != nil {
		return 0, err
	}
	at, err := c.Result()
	if err != nil {
		return 0, err
	}
	r.call("move shared memory", unix.SYS_MREMAP, at+v.Offset, v.End-v.Start, v.End-v.Start, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, v.Start)
	r.call("unmap the beginning of shared memory", unix.SYS_MUNMAP, at, v.Offset)
	return at, nil
}

// Needed returns the address ranges that mapping vmas takes: a segment is attached as a
// whole. defined has the records of the segments.
func Needed(vmas []record.VMA, defined map[uint64]*stream.Record) []tracee.Range {
	all := Occupied(vmas)
	for i := range vmas {
		if vmas[i].Kind != record.VMASysVShm || vmas[i].Offset != 0 {
			continue
		}
		if s, err := decodeSysVShm(defined[vmas[i].Refs.Inode]); err == nil {
			all[i].Len = max(all[i].Len, lengthOf(s))
		}
	}
	return all
}

// lengthOf is the length of a segment in whole pages.
func lengthOf(s *record.SysVShm) uint64 {
	mask := max(s.HugePage, pageBytes) - 1
	return (s.Size + mask) &^ mask
}

// segment is a restored System V segment.
type segment struct {
	object.Base
	f    *depot.File
	rec  *record.SysVShm
	made bool // by this restart
	full bool // others use it, so it keeps its contents
}

func sysVShmKind(r *object.Restart) object.Kind {
	seen := map[int]bool{}
	return object.Kind{
		Check: func(rec *stream.Record) []error { return checkSysVShm(r, seen, rec) },
		Here:  func(rec *stream.Record) []error { return sysVShmHere(r, rec) },
		Make:  func(rec *stream.Record) (object.Object, error) { return makeSysVShm(r, rec) },
	}
}

// checkSysVShm returns an error if another segment is in the way.
func checkSysVShm(r *object.Restart, seen map[int]bool, rec *stream.Record) []error {
	s, err := decodeSysVShm(rec)
	switch {
	case err != nil:
		return []error{err}
	case r.OwnIPC && seen[s.ShmID]:
		return []error{fmt.Errorf("%w: System V shared memory %d occurs twice", stream.ErrCorrupt, s.ShmID)}
	case r.OwnIPC && r.Paper: // here is another namespace
		seen[s.ShmID] = true
		return nil
	}
	seen[s.ShmID] = true
	var d unix.SysvShmDesc
	// We may be allowed to attach any segment, but the program only its own: a
	// segment with the same id that belongs to another user is not the program's.
	if _, err := unix.SysvShmCtl(s.ShmID, unix.IPC_STAT, &d); err == nil &&
		(d.Perm.Key != s.Key || uint64(d.Segsz) != s.Size || d.Perm.Uid != s.UID || d.Perm.Gid != s.GID) {
		return []error{fmt.Errorf("shared memory id %d (System V) is in use by another segment (key %#x, %d bytes, of user %d and group %d): remove it with ipcrm -m %d",
			s.ShmID, uint32(d.Perm.Key), d.Segsz, d.Perm.Uid, d.Perm.Gid, s.ShmID)}
	}
	return nil
}

// nextID chooses the id of the next segment, see proc_sys_kernel(5).
const nextID = "/proc/sys/kernel/shm_next_id"

// sysVShmHere: a segment that exists may belong to another user, and one that does not
// is made with its id.
func sysVShmHere(r *object.Restart, rec *stream.Record) []error {
	own := r.Own
	s, err := decodeSysVShm(rec)
	if err != nil || r.OwnIPC { // making that takes more
		return nil
	}
	id := fmt.Sprint(s.ShmID)
	var d unix.SysvShmDesc
	switch _, err := unix.SysvShmCtl(s.ShmID, unix.IPC_STAT, &d); {
	case errors.Is(err, unix.EACCES):
		return own.Need(caps.Of(unix.CAP_IPC_OWNER), id, "attach the System V shared memory %s, of another user")
	case err == nil:
		return nil
	case unix.Faccessat(unix.AT_FDCWD, nextID, unix.W_OK, unix.AT_EACCESS) != nil:
		return own.NeedHost(caps.Of(unix.CAP_CHECKPOINT_RESTORE), id, "choose the id of the System V shared memory %s")
	}
	return nil
}

func decodeSysVShm(rec *stream.Record) (*record.SysVShm, error) {
	s := new(record.SysVShm)
	if err := rec.Decode(s); err != nil {
		return nil, err
	}
	if s.ShmID < 0 || s.ShmID > 1<<31-1 || s.Size == 0 || s.Size > taskSize || s.HugePage != 0 && (s.HugePage&(s.HugePage-1) != 0 || s.HugePage <= pageBytes || s.HugePage > taskSize) {
		return nil, fmt.Errorf("%w: System V shared memory %d of %d bytes", stream.ErrCorrupt, s.ShmID, s.Size)
	}
	return s, nil
}

// makeSysVShm opens the segment, which may still exist, or makes it again with its id.
func makeSysVShm(r *object.Restart, rec *stream.Record) (object.Object, error) {
	s, err := decodeSysVShm(rec)
	if err != nil {
		return nil, err
	}
	seg := &segment{rec: s}
	var d unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(s.ShmID, unix.IPC_STAT, &d); err != nil {
		if err := seg.make(r); err != nil {
			return nil, err
		}
	} else if d.Nattch > 0 {
		seg.full = true
		r.Note("System V shared memory %d is in use by others and stays as it is", s.ShmID)
	}
	f, err := sys.OpenShm(s.ShmID, lengthOf(s))
	if err == nil {
		seg.f, err = r.Depot.Keep(f)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("shared memory %d (System V): %w", s.ShmID, err), seg.Undo())
	}
	return seg, nil
}

// make makes the segment.
func (g *segment) make(r *object.Restart) error {
	s := g.rec
	err := os.WriteFile(nextID, strconv.AppendInt(nil, int64(s.ShmID), 10), 0)
	if err != nil {
		return fmt.Errorf("choose the id of System V shared memory: %w", err)
	}
	id := 0
	err = asCreator(r, s, func() (err error) {
		id, err = unix.SysvShmGet(int(s.Key), int(s.Size), unix.IPC_CREAT|unix.IPC_EXCL|int(s.Mode&0o777)|hugeFlagsShm(s.HugePage))
		return err
	})
	if err != nil {
		dropNextID()
		return fmt.Errorf("make System V shared memory %d (key %#x)%s: %w", s.ShmID, uint32(s.Key), hugeHint(s.HugePage), err)
	}
	if id != s.ShmID {
		_, err := unix.SysvShmCtl(id, unix.IPC_RMID, nil)
		return errors.Join(fmt.Errorf("shared memory (System V) got the id %d, not %d", id, s.ShmID), err)
	}
	g.made = true
	var d unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &d); err != nil {
		return errors.Join(os.NewSyscallError("shmctl", err), g.Undo())
	}
	d.Perm.Uid, d.Perm.Gid = s.UID, s.GID
	if _, err := unix.SysvShmCtl(id, unix.IPC_SET, &d); err != nil {
		return errors.Join(os.NewSyscallError("shmctl", err), g.Undo())
	}
	if s.Mode&shmLocked != 0 {
		if _, err := unix.SysvShmCtl(id, shmLock, nil); err != nil {
			r.Note("System V shared memory %d can be swapped out, as it could not be before: %v", id, err)
		}
	}
	return nil
}

// asCreator makes a segment as the user whom the kernel is to remember. Huge pages are not
// for everybody.
func asCreator(r *object.Restart, s *record.SysVShm, do func() error) error {
	c := s.Creator
	if c == nil || s.HugePage != 0 || int(c.UID) == unix.Geteuid() && int(c.GID) == unix.Getegid() {
		return do()
	}
	err := sys.AsUser(uint32(unix.Getuid()), c.UID, uint32(unix.Getgid()), c.GID, nil, do)
	if errors.Is(err, unix.EPERM) {
		r.Note("System V shared memory %d was made by user %d and group %d; to be made by them again takes CAP_SETUID and CAP_SETGID", s.ShmID, c.UID, c.GID)
		return do()
	}
	return err
}

// hugeFlagsShm is hugeFlags for shmget(2).
func hugeFlagsShm(page uint64) int {
	if page == 0 {
		return 0
	}
	const hugetlb = 0o4000 // SHM_HUGETLB
	return hugetlb | hugeFlags(page)&^unix.MAP_HUGETLB
}

// dropNextID uses up the id that was chosen for the next segment, so that nobody else
// gets it. It can't be reset in another way: the file does not accept -1.
func dropNextID() {
	if id, err := unix.SysvShmGet(unix.IPC_PRIVATE, os.Getpagesize(), 0o600); err == nil {
		_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	}
}

// Seal marks the segment as removed if it was, now that all tasks have attached it.
func (g *segment) Seal() error {
	if g.rec.Mode&shmDest == 0 {
		return nil
	}
	_, err := unix.SysvShmCtl(g.rec.ShmID, unix.IPC_RMID, nil)
	return os.NewSyscallError("shmctl", err)
}

// Undo removes what the restart made.
func (g *segment) Undo() error {
	if !g.made {
		return nil
	}
	g.made = false
	_, err := unix.SysvShmCtl(g.rec.ShmID, unix.IPC_RMID, nil)
	if err == unix.EINVAL || err == unix.EIDRM {
		err = nil // it no longer exists
	}
	return os.NewSyscallError("shmctl", err)
}

func (g *segment) Open(flags int) (*os.File, error) { return reopen(g.f, flags) }

// Fill leaves a segment that others use as it is. What is in the last page behind its end is
// written by a mapping: else it would become longer.
func (g *segment) Fill(rec *stream.Record, data io.Reader) error {
	if g.full {
		return nil
	}
	var c record.Content
	if err := rec.Decode(&c); err != nil {
		return err
	}
	if room := int64(lengthOf(g.rec)); c.Offset < 0 || c.Offset > room || rec.DataLen > room-c.Offset {
		return fmt.Errorf("%w: %d bytes at %d of System V shared memory of %d", stream.ErrCorrupt, rec.DataLen, c.Offset, g.rec.Size)
	}
	page := int64(g.rec.HugePage)
	if c.Offset >= int64(g.rec.Size) {
		page = max(page, pageBytes)
	}
	f, err := g.f.Dup()
	if err != nil {
		return err
	}
	return object.FillContent(rec, data, f, page, int64(lengthOf(g.rec)))
}

func (g *segment) Close() error { return g.f.Close() }

package memory

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/internal/tracee"
	"ckpt/stream"
)

const (
	mapFixedNoreplace = 0x100000
	mapDroppable      = 0x08
	mlockOnfault      = 1
	madvGuardInstall  = 102
	prSetVMA          = 0x53564d41
	prSetVMAAnonName  = 0
	pageMask          = 4096 - 1
	taskSize          = 1<<47 - 4096
)

// Restorer builds one address space.
type Restorer struct {
	PID    int
	Puppet *tracee.Puppet
	// Inode opens what an objref names, with O_ flags.
	Inode func(objref uint64, flags int) (*os.File, error)
	// Note tells the user of something that is not as it was.
	Note func(format string, args ...any)

	vmas []stream.VMA
	mem  *os.File // nil before it is needed
	in   int      // the stream's descriptor in the puppet, -1 before it is needed

	parent  *Restorer // of a forked puppet
	kept    []kept    // what came from it and stays, ascending
	cursor  uint64    // Inherit has been here
	dropped int       // of kept, those before the cursor
	drops   []byte    // struct iovec of pages to drop
}

// maxOffset bounds where in a file a mapping may begin: no file is as long.
const maxOffset = 1 << 62

// Check says what in the VMA records, sorted by address, can't be built.
func Check(vmas []stream.VMA) []error {
	var errs []error
	last := uint64(0)
	for i := range vmas {
		v := &vmas[i]
		if why := wrong(v, last); why != "" {
			errs = append(errs, fmt.Errorf("mapping %x-%x: %s", v.Start, v.End, why))
		}
		if err := tracee.CheckMemPolicy(v.NUMA); err != nil {
			errs = append(errs, fmt.Errorf("mapping %x-%x: %w", v.Start, v.End, err))
		}
		last = max(last, v.End)
	}
	return errs
}

// wrong says in words why a mapping can't be built behind one that ends at last,
// or "".
func wrong(v *stream.VMA, last uint64) string {
	switch {
	case kindNamed(v.Kind) == nil:
		return fmt.Sprintf("kind %q is not known to this version", v.Kind)
	case v.Start >= v.End || (v.Start|v.End|v.Offset)&pageMask != 0:
		return "not whole pages"
	case v.Kind == stream.VMAVsyscall && v.Start <= taskSize, v.Kind != stream.VMAVsyscall && v.End > taskSize:
		return "outside of what a process may map"
	case v.Start < last:
		return "overlaps the one before"
	case v.Offset >= maxOffset:
		return fmt.Sprintf("from offset %#x on", v.Offset)
	case v.HugePage != 0 && (v.HugePage&(v.HugePage-1) != 0 || v.HugePage <= pageBytes || (v.Start|v.End)&(v.HugePage-1) != 0):
		return fmt.Sprintf("pages of %d bytes", v.HugePage)
	case v.Prot&^(unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC) != 0:
		return fmt.Sprintf("protection %#x", v.Prot)
	}
	for _, g := range v.Guards {
		if g.Start >= g.End || g.Start < v.Start || g.End > v.End || (g.Start|g.End)&pageMask != 0 {
			return fmt.Sprintf("guard pages %x-%x", g.Start, g.End)
		}
	}
	return ""
}

// Occupied are the ranges that the mappings take.
func Occupied(vmas []stream.VMA) []tracee.Range {
	r := make([]tracee.Range, len(vmas))
	for i, v := range vmas {
		r[i] = tracee.Range{Addr: v.Start, Len: v.End - v.Start}
	}
	return r
}

// Map unmaps everything but the puppet's own pages and maps vmas, which Check
// has passed.
func (r *Restorer) Map(vmas []stream.VMA) error {
	r.vmas, r.in = vmas, -1
	own := r.Puppet.Own()
	if err := r.call("empty its address space", unix.SYS_MUNMAP, 0, own.Addr); err != nil {
		return err
	}
	end := own.Addr + own.Len
	if err := r.call("empty its address space", unix.SYS_MUNMAP, end, taskSize-end); err != nil {
		return err
	}
	if err := r.placeVDSO(); err != nil {
		return err
	}
	for i := range vmas {
		if err := kindNamed(vmas[i].Kind).restore(r, &vmas[i]); err != nil {
			return err
		}
		if err := r.advise(&vmas[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *Restorer) call(what string, nr uintptr, args ...uint64) error {
	return tracee.CallOK(r.Puppet, what, nr, args...)
}

func placedByKernel(*Restorer, *stream.VMA) error { return nil }

// placeVDSO has the kernel map vdso and vvar where they were.
func (r *Restorer) placeVDSO() error {
	var want []stream.VMA
	for _, v := range r.vmas {
		if v.Kind == stream.VMAVDSO || v.Kind == stream.VMAVVar {
			want = append(want, v)
		}
	}
	if len(want) == 0 {
		return nil
	}
	if err := r.Puppet.PlaceVDSO(want[0].Start); err != nil {
		return err
	}
	maps, err := proc.ReadMaps(r.PID)
	if err != nil {
		return err
	}
	for _, m := range maps {
		if name := m.Name(); name != "[vdso]" && !strings.HasPrefix(name, "[vvar") {
			continue
		}
		if len(want) == 0 || want[0].Start != m.Start || want[0].End != m.End || want[0].Name != m.Name() {
			return fmt.Errorf("this kernel's vdso is laid out otherwise (%s at %x-%x) than where the image was made: restore it on that kernel version", m.Name(), m.Start, m.End)
		}
		want = want[1:]
	}
	if len(want) > 0 {
		return fmt.Errorf("this kernel has no %s, which the image was made with: restore it on that kernel version", want[0].Name)
	}
	return nil
}

func restoreAnon(r *Restorer, v *stream.VMA) error {
	return r.mmap(v, unix.MAP_ANONYMOUS|uint64(hugeFlags(v.HugePage)), ^uint64(0))
}

func restoreMapped(r *Restorer, v *stream.VMA) error {
	flags := unix.O_RDONLY
	if v.RW {
		flags = unix.O_RDWR
	}
	f, err := r.Inode(v.Refs.Inode, flags)
	if err != nil {
		return err
	}
	defer f.Close()
	fd, err := r.Puppet.Give(int(f.Fd()))
	if err != nil {
		return err
	}
	return errors.Join(r.mmap(v, 0, uint64(fd)), r.call("close", unix.SYS_CLOSE, uint64(fd)))
}

func (r *Restorer) mmap(v *stream.VMA, flags, fd uint64) error {
	flags |= mapFixedNoreplace | mmapFlags(v)
	switch {
	case v.Shared:
		flags |= unix.MAP_SHARED
	case flags&mapDroppable == 0: // that is a kind of its own
		flags |= unix.MAP_PRIVATE
	}
	offset := v.Offset
	if fd == ^uint64(0) {
		offset = 0
	}
	got, err := r.Puppet.Call(unix.SYS_MMAP, v.Start, v.End-v.Start, uint64(mapProt(v)), flags, fd, offset)
	if err == nil && got != v.Start {
		err = unix.EEXIST
	}
	if err != nil {
		return fmt.Errorf("pid %d: map %s at %x-%x%s: %w", r.PID, orWord(v.Name, "memory"), v.Start, v.End, hugeHint(v.HugePage), err)
	}
	return nil
}

// mapProt is the protection a mapping has until its pages are filled in. What
// was writable once is accounted for by the kernel ("ac"), and stays so only if
// it has pages when it becomes read-only.
func mapProt(v *stream.VMA) uint32 {
	if !v.Shared && has(v, flagAccounted) {
		return v.Prot | unix.PROT_WRITE
	}
	return v.Prot
}

func orWord(s, word string) string {
	if s == "" {
		return word
	}
	return s
}

// advise gives a mapping what mmap(2) doesn't: its name and the advice that
// bears on how pages are filled in.
func (r *Restorer) advise(v *stream.VMA) error {
	if ofKernel(v.Kind) {
		return nil
	}
	for _, f := range vmaFlags {
		if f.advice == unix.MADV_NORMAL || !has(v, f.code) {
			continue
		}
		if err := r.call(fmt.Sprintf("advise %s on its mapping at %x", f.code, v.Start), unix.SYS_MADVISE, v.Start, v.End-v.Start, uint64(f.advice)); err != nil {
			return err
		}
	}
	if err := r.place(v); err != nil || v.Anon == "" {
		return err
	}
	at := r.Puppet.Scratch().Addr
	if err := r.Puppet.Tracee().WriteMem(at, append([]byte(v.Anon), 0)); err != nil {
		return err
	}
	return r.call("name its mapping", unix.SYS_PRCTL, prSetVMA, prSetVMAAnonName, v.Start, v.End-v.Start, at)
}

// place says which NUMA nodes a mapping's pages are to come from.
func (r *Restorer) place(v *stream.VMA) error {
	if v.NUMA == nil {
		return nil
	}
	err := tracee.SetMemPolicyAt(r.Puppet, v.Start, v.End-v.Start, v.NUMA)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		r.Note("pid %d took the memory of its mapping at %x from NUMA nodes this system does not have; it takes it from any", r.PID, v.Start)
		return nil
	}
	return err
}

// Filled is called when all contents are in. Children can be forked then, until
// Finish.
func (r *Restorer) Filled() error {
	if r.in >= 0 {
		if err := r.call("close", unix.SYS_CLOSE, uint64(r.in)); err != nil {
			return err
		}
		r.in = -1
	}
	return errors.Join(r.endInherit(), r.Close())
}

// Finish does what must wait for the pages and the children: protection, guard
// pages, locking, sealing.
func (r *Restorer) Finish() error {
	for i := range r.vmas {
		v := &r.vmas[i]
		if mapProt(v) != v.Prot {
			if err := r.call(fmt.Sprintf("protect its mapping at %x", v.Start), unix.SYS_MPROTECT, v.Start, v.End-v.Start, uint64(v.Prot)); err != nil {
				return err
			}
		}
		for _, g := range v.Guards {
			if err := r.call("install guard pages", unix.SYS_MADVISE, g.Start, g.End-g.Start, madvGuardInstall); err != nil {
				return err
			}
		}
		if !has(v, flagLocked) {
			continue
		}
		how := uint64(0)
		if has(v, flagLockedOnFault) {
			how = mlockOnfault
		}
		// Pages that can't be touched are not faulted in, and ENOMEM says so;
		// the mapping is locked all the same, see mlock(2).
		if _, err := r.Puppet.Call(unix.SYS_MLOCK2, v.Start, v.End-v.Start, how); err != nil && err != unix.ENOMEM {
			return fmt.Errorf("pid %d: lock its mapping at %x: %w", r.PID, v.Start, err)
		}
	}
	return r.seal()
}

// seal seals what was sealed: nothing can be done to such a mapping then.
func (r *Restorer) seal() error {
	for i := range r.vmas {
		v := &r.vmas[i]
		if !has(v, flagSealed) || ofKernel(v.Kind) {
			continue
		}
		if err := r.call(fmt.Sprintf("seal its mapping at %x", v.Start), sys.SysMseal, v.Start, v.End-v.Start, 0); err != nil {
			return err
		}
	}
	return nil
}

// Close lets go of what the Restorer holds.
func (r *Restorer) Close() error {
	if r.mem == nil {
		return nil
	}
	err := r.mem.Close()
	r.mem = nil
	return err
}

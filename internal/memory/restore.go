package memory

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/puppet"
	"ckpt/internal/sys"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

const (
	mapFixedNoreplace = 0x100000
	mapDroppable      = 0x08
	mlockOnfault      = 1
	madvGuardInstall  = 102
	prSetVMA          = 0x53564d41
	prSetVMAAnonName  = 0
	pageMask          = abi.PageBytes - 1
	taskSize          = 1<<47 - 4096
)

// Restorer builds one address space.
type Restorer struct {
	PID    int
	Puppet *puppet.Puppet
	// Open opens the object of an objref, with O_ flags.
	Open func(objref uint64, flags int) (*os.File, error)
	// Note tells the user about something that is not as it was.
	Note func(format string, args ...any)
	// Foreign is the code of the image's vdso if the kernel has another one.
	Foreign []byte
	// Other is where the program has the vdso of a kernel where it was before.
	Other tracee.Range

	own     tracee.Range // where the kernel's vdso and its data were put, if that is elsewhere
	ownVDSO uint64       // its code
	other   tracee.Range // where the program then has that of another kernel: Other, or the image's

	vmas     []record.VMA
	calls    *puppet.Vector // calls added so far, see call
	after    []func() error // check what those returned
	open     []*os.File     // files that they map
	mem      *os.File       // /proc/PID/mem; nil until needed
	nameless bool           // the user was told that names are lost
	in       int            // the stream's descriptor in the puppet; -1 until needed

	parent  *Restorer // of a forked puppet
	kept    []kept    // what came from the parent and stays, ascending
	cursor  uint64    // how far Inherit has come
	dropped int       // how many of kept end before the cursor
	drops   []byte    // struct iovec of pages to drop
}

// maxOffset bounds the offset of a mapping in its file: no file is that long.
const maxOffset = 1 << 62

// Check returns what in the VMA records, sorted by address, can't be mapped.
func Check(vmas []record.VMA) []error {
	var errs []error
	last := uint64(0)
	execOnly := execOnlyKey(vmas)
	for i := range vmas {
		v := &vmas[i]
		why := wrong(v, last)
		if why == "" {
			why = wrongPkey(v, execOnly)
		}
		if why != "" {
			errs = append(errs, fmt.Errorf("mapping %x-%x: %s", v.Start, v.End, why))
		}
		if err := tracee.CheckMemPolicy(v.NUMA); err != nil {
			errs = append(errs, fmt.Errorf("mapping %x-%x: %w", v.Start, v.End, err))
		}
		last = max(last, v.End)
	}
	return errs
}

// wrong says, for a message, why a mapping can't be made behind one that ends at
// last, or "".
func wrong(v *record.VMA, last uint64) string {
	switch {
	case kindNamed(v.Kind) == nil:
		return fmt.Sprintf("kind %q is not known to this version", v.Kind)
	case v.Start >= v.End || (v.Start|v.End|v.Offset)&pageMask != 0:
		return "not whole pages"
	case v.Kind == record.VMAVsyscall && v.Start <= taskSize, v.Kind != record.VMAVsyscall && v.End > taskSize:
		return "outside the address space of a process"
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

// Occupied returns the address ranges of the mappings.
func Occupied(vmas []record.VMA) []tracee.Range {
	r := make([]tracee.Range, len(vmas))
	for i, v := range vmas {
		r[i] = tracee.Range{Addr: v.Start, Len: v.End - v.Start}
	}
	return r
}

// Map unmaps everything but the puppet's own pages, and maps vmas, which have passed
// Check.
func (r *Restorer) Map(vmas []record.VMA) error {
	r.vmas, r.in = vmas, -1
	own := r.Puppet.Own()
	r.call("empty its address space", unix.SYS_MUNMAP, 0, own.Addr)
	end := own.Addr + own.Len
	r.call("empty its address space", unix.SYS_MUNMAP, end, taskSize-end)
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
	return r.make()
}

// call adds a system call, which make makes together with others.
func (r *Restorer) call(what string, nr uintptr, args ...uint64) *puppet.VectorCall {
	return r.vector().Add(what, nr, args...)
}

func (r *Restorer) vector() *puppet.Vector {
	if r.calls == nil {
		r.calls = r.Puppet.Vector()
	}
	return r.calls
}

// make makes the calls that were added.
func (r *Restorer) make() error {
	errs := []error{r.vector().Run()}
	for i := 0; i < len(r.after) && errs[0] == nil; i++ {
		errs[0] = r.after[i]()
	}
	for _, f := range r.open {
		errs = append(errs, f.Close())
	}
	r.after, r.open = r.after[:0], r.open[:0]
	return errors.Join(errs...)
}

func placedByKernel(*Restorer, *record.VMA) error { return nil }

func restoreAnon(r *Restorer, v *record.VMA) error {
	r.mmap(v, unix.MAP_ANONYMOUS|uint64(hugeFlags(v.HugePage)), nil)
	return nil
}

// maxOpen is how many files are open at a time in order to be mapped.
const maxOpen = 16

func restoreMapped(r *Restorer, v *record.VMA) error {
	flags := unix.O_RDONLY
	if v.RW {
		flags = unix.O_RDWR
	}
	f, err := r.Open(v.Refs.Inode, flags)
	if err != nil {
		return err
	}
	r.open = append(r.open, f)
	fd := r.Puppet.GiveIn(r.vector(), int(f.Fd()))
	r.mmap(v, 0, fd)
	r.call("close", unix.SYS_CLOSE, 0).From(0, fd)
	if len(r.open) < maxOpen {
		return nil
	}
	return r.make()
}

// mmap adds the mapping of anonymous memory, or, with fd, of a file.
func (r *Restorer) mmap(v *record.VMA, flags uint64, fd *puppet.VectorCall) {
	flags |= mapFixedNoreplace | mmapFlags(v)
	switch {
	case v.Shared:
		flags |= unix.MAP_SHARED
	case flags&mapDroppable == 0: // which takes the place of MAP_PRIVATE
		flags |= unix.MAP_PRIVATE
	}
	offset := v.Offset
	if fd == nil {
		offset = 0
	}
	what := fmt.Sprintf("map %s at %x-%x%s", orWord(v.Name, "memory"), v.Start, v.End, hugeHint(v.HugePage))
	r.at(v, r.call(what, unix.SYS_MMAP, v.Start, v.End-v.Start, uint64(mapProt(v)), flags, ^uint64(0), offset).From(4, fd), what)
}

// at makes it an error if a call maps v at another address.
func (r *Restorer) at(v *record.VMA, c *puppet.VectorCall, what string) {
	start := v.Start
	r.after = append(r.after, func() error {
		if got, _ := c.Result(); got != start {
			return fmt.Errorf("pid %d: %s: %w", r.PID, what, unix.EEXIST)
		}
		return nil
	})
}

// mapProt is the protection of a mapping until its pages are filled in. The kernel
// accounts for memory that was ever writable ("ac"), but when that becomes read-only
// it stays accounted only if it has pages.
func mapProt(v *record.VMA) uint32 {
	prot := v.Prot
	if v.ExecOnly { // or the kernel would take a key
		prot |= unix.PROT_READ
	}
	if !v.Shared && has(v, flagAccounted) {
		prot |= unix.PROT_WRITE
	}
	return prot
}

func orWord(s, word string) string {
	if s == "" {
		return word
	}
	return s
}

// advise sets what mmap(2) doesn't: a mapping's advice, which matters while pages are
// filled in, its NUMA policy and its name.
func (r *Restorer) advise(v *record.VMA) error {
	if ofKernel(v.Kind) {
		return nil
	}
	for _, f := range vmaFlags {
		if f.advice == unix.MADV_NORMAL || !has(v, f.code) {
			continue
		}
		r.call(fmt.Sprintf("advise %s on its mapping at %x", f.code, v.Start), unix.SYS_MADVISE, v.Start, v.End-v.Start, uint64(f.advice))
	}
	if err := r.setNUMA(v); err != nil || v.Anon == "" {
		return err
	}
	r.name(v)
	return nil
}

// name sets the name of a mapping, which is only for people, if this kernel supports
// names.
func (r *Restorer) name(v *record.VMA) {
	at := r.vector().Put(append([]byte(v.Anon), 0))
	c := r.call("name its mapping", unix.SYS_PRCTL, prSetVMA, prSetVMAAnonName, v.Start, v.End-v.Start, at).MayFail()
	r.after = append(r.after, func() error {
		_, err := c.Result()
		if err != unix.EINVAL {
			return err
		}
		if !r.nameless {
			r.Note("the memory of pid %d loses its names (%s and others), because this kernel does not support them", r.PID, v.Anon)
		}
		r.nameless = true
		return nil
	})
}

// setNUMA sets the NUMA policy of a mapping.
func (r *Restorer) setNUMA(v *record.VMA) error {
	if v.NUMA == nil {
		return nil
	}
	if err := r.make(); err != nil {
		return err
	}
	err := tracee.SetMemPolicyAt(r.Puppet, v.Start, v.End-v.Start, v.NUMA)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		r.Note("pid %d took the memory of its mapping at %x from NUMA nodes that this system does not have; from now on it takes it from any node", r.PID, v.Start)
		return nil
	}
	return err
}

// Filled is called when all contents are in. From then until Finish, children can be
// forked. If they are, they don't get the stream; else it goes with all descriptors.
func (r *Restorer) Filled(forks bool) error {
	if r.in >= 0 && forks {
		r.call("close", unix.SYS_CLOSE, uint64(r.in))
		if err := r.make(); err != nil {
			return err
		}
	}
	r.in = -1
	return errors.Join(r.endInherit(), r.Close())
}

// Finish sets what must wait for the pages and the children: protection, guard
// pages, locks and seals.
func (r *Restorer) Finish() error {
	if err := r.leadAgain(); err != nil {
		return err
	}
	r.allocPkeys()
	for i := range r.vmas {
		v := &r.vmas[i]
		switch {
		case v.ExecOnly: // allocPkeys has
		case v.Pkey != 0:
			r.setPkey(v)
		case mapProt(v) != v.Prot:
			r.call(fmt.Sprintf("protect its mapping at %x", v.Start), unix.SYS_MPROTECT, v.Start, v.End-v.Start, uint64(v.Prot))
		}
		for _, g := range v.Guards {
			r.call("install guard pages", unix.SYS_MADVISE, g.Start, g.End-g.Start, madvGuardInstall)
		}
		if has(v, flagLocked) {
			r.lock(v)
		}
	}
	r.freePkeys()
	r.seal()
	return r.make()
}

// lock locks a mapping. mlock2(2) fails with ENOMEM if pages can't be faulted in, but
// the mapping is locked all the same.
func (r *Restorer) lock(v *record.VMA) {
	how := uint64(0)
	if has(v, flagLockedOnFault) {
		how = mlockOnfault
	}
	what := fmt.Sprintf("lock its mapping at %x", v.Start)
	c := r.call(what, unix.SYS_MLOCK2, v.Start, v.End-v.Start, how).MayFail()
	r.after = append(r.after, func() error {
		if _, err := c.Result(); err != nil && err != unix.ENOMEM {
			return fmt.Errorf("pid %d: %s: %w", r.PID, what, err)
		}
		return nil
	})
}

// seal seals the mappings that were sealed, as the last step: they can't be changed
// any more.
func (r *Restorer) seal() {
	for i := range r.vmas {
		v := &r.vmas[i]
		if has(v, flagSealed) && !ofKernel(v.Kind) {
			r.call(fmt.Sprintf("seal its mapping at %x", v.Start), sys.SysMseal, v.Start, v.End-v.Start, 0)
		}
	}
}

// Close closes the files that the Restorer has open.
func (r *Restorer) Close() error {
	var errs []error
	for _, f := range append(r.open, r.mem) {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	r.open, r.mem = nil, nil
	return errors.Join(errs...)
}

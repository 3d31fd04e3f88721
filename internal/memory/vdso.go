package memory

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// A program calls the vdso by addresses that it found when it began, so on another kernel it
// keeps the vdso of its own, as ordinary pages whose functions lead to those of the kernel's
// vdso. That is mapped where there is room. What led there before is led on by later
// restores, and the vdso of the kernel in between is dropped: tracee.FindVDSO tells.

// maxVDSO bounds the length of a vdso, which is two or three pages.
const maxVDSO = 64 << 10

// ForeignVDSO returns the code of the image's vdso if this kernel has another one. It can be
// led to this kernel's; err says why not.
func ForeignVDSO(h *record.Header) (text []byte, err error) {
	own, err := tracee.VDSO()
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(own); len(h.VDSO) == 0 || bytes.Equal(sum[:], h.VDSO) {
		return nil, nil
	}
	now, _ := proc.KernelRelease()
	differs := fmt.Sprintf("this kernel (%s) maps other code into each process (vdso) than the image's (%s)", now, h.Kernel)
	switch {
	case len(h.VDSOCode) == 0:
		return nil, fmt.Errorf("%s, which is not in the image, because an older version made it: restore it on that kernel", differs)
	case h.VDSOInside != 0:
		return nil, fmt.Errorf("%s, and thread %d was inside that: restore it on that kernel, or save it again", differs, h.VDSOInside)
	case h.VDSOBytes > maxVDSO || h.VDSOBytes&pageMask != 0 || int64(len(h.VDSOCode)) > h.VDSOBytes:
		return nil, fmt.Errorf("%w: a vdso of %d bytes, of which there are %d", stream.ErrCorrupt, h.VDSOBytes, len(h.VDSOCode))
	}
	text = make([]byte, h.VDSOBytes)
	copy(text, h.VDSOCode)
	if sum := sha256.Sum256(text); !bytes.Equal(sum[:], h.VDSO) {
		return nil, fmt.Errorf("%w: the vdso is not the one whose digest is in the header", stream.ErrCorrupt)
	}
	if _, err := tracee.LeadVDSO(text, taskSize); err != nil {
		return nil, fmt.Errorf("%s, which can't be led to this kernel's: %w", differs, err)
	}
	return text, nil
}

// placeVDSO makes the kernel map vdso and vvar: where they were, or, if they are not the
// same as in the image, where there is room.
func (r *Restorer) placeVDSO() error {
	var want []record.VMA
	for _, v := range r.vmas {
		if v.Kind == record.VMAVDSO || v.Kind == record.VMAVVar {
			want = append(want, v)
		}
	}
	if len(want) == 0 {
		return nil
	}
	if r.Foreign == nil {
		return r.placeSame(want)
	}
	i := slices.IndexFunc(want, func(v record.VMA) bool { return v.Kind == record.VMAVDSO })
	if i < 0 {
		return nil
	}
	if r.other = r.Other; r.other.Len > 0 {
		return r.placeOwn(&want[i]) // what leads there is among the pages, see leadAgain
	}
	if err := r.placeOwn(&want[i]); err != nil {
		return err
	}
	return r.placeOther(&want[i])
}

// placeSame maps them where they were.
func (r *Restorer) placeSame(want []record.VMA) error {
	r.Puppet.PlaceVDSO(r.vector(), want[0].Start)
	if err := r.make(); err != nil {
		return err
	}
	maps, err := proc.ReadMaps(r.PID)
	if err != nil {
		return err
	}
	for _, m := range maps {
		if !tracee.IsVDSO(&m) {
			continue
		}
		if len(want) == 0 || want[0].Start != m.Start || want[0].End != m.End || want[0].Name != m.Name() {
			return fmt.Errorf("this kernel lays out its vdso (%s at %x-%x) differently from the one the image was made on: restore it on that kernel version", m.Name(), m.Start, m.End)
		}
		want = want[1:]
	}
	if len(want) > 0 {
		return fmt.Errorf("this kernel has no %s, but the one the image was made on had: restore it on that kernel version", want[0].Name)
	}
	return nil
}

// placeOwn maps this kernel's where there is room in an address space with the image's vdso v.
func (r *Restorer) placeOwn(v *record.VMA) error {
	own, err := tracee.OwnVDSO()
	if err != nil || own.Text == nil {
		return err
	}
	at, err := r.roomNear(v, own.Len())
	if err != nil {
		return err
	}
	r.Puppet.PlaceVDSO(r.vector(), at)
	if err := r.make(); err != nil {
		return err
	}
	maps, err := proc.ReadMaps(r.PID)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(maps, func(m proc.Mapping) bool { return tracee.IsVDSO(&m) })
	if i < 0 || maps[i].Start != at {
		return fmt.Errorf("pid %d: the kernel does not map its vdso at %#x, where there is room for it", r.PID, at)
	}
	r.own = tracee.Range{Addr: at, Len: own.Len()}
	r.ownVDSO = at + own.At
	return nil
}

// roomNear finds room for what the kernel maps: below the image's vdso, where data of that
// was, or else far from everything that may grow.
func (r *Restorer) roomNear(v *record.VMA, size uint64) (uint64, error) {
	const gap = 64 << 10 // to the mapping below, which may grow
	occupied := []tracee.Range{r.Puppet.Own()}
	for i := range r.vmas {
		if m := &r.vmas[i]; m.Kind != record.VMAVVar && m.Kind != record.VMAVsyscall { // nothing will be where the data was
			occupied = append(occupied, tracee.Range{Addr: m.Start, Len: m.End - m.Start})
		}
	}
	below := tracee.Range{Addr: v.Start - size - gap, Len: size + gap}
	if v.Start > size+gap && !slices.ContainsFunc(occupied, func(m tracee.Range) bool { return overlap(m, below) }) {
		return v.Start - size, nil
	}
	hole := largestHole(occupied)
	if hole.Len < size+2*gap {
		return 0, fmt.Errorf("pid %d: its address space is too full for the vdso of this kernel, which is another one than where it was saved: restore it on that kernel", r.PID)
	}
	return (hole.Addr + (hole.Len-size)/2) &^ pageMask, nil
}

// largestHole finds the largest range that is not occupied.
func largestHole(occupied []tracee.Range) (hole tracee.Range) {
	sorted := slices.Clone(occupied)
	slices.SortFunc(sorted, func(a, b tracee.Range) int { return cmp.Compare(a.Addr, b.Addr) })
	at := uint64(lowestRoom)
	for _, m := range append(sorted, tracee.Range{Addr: taskSize}) {
		if m.Addr > at && m.Addr-at > hole.Len {
			hole = tracee.Range{Addr: at, Len: m.Addr - at}
		}
		at = max(at, m.Addr+m.Len)
	}
	return hole
}

// lowestRoom is above what only a privileged process may map (vm.mmap_min_addr).
const lowestRoom = 1 << 20

func overlap(a, b tracee.Range) bool { return a.Addr < b.Addr+b.Len && b.Addr < a.Addr+a.Len }

// placeOther maps the image's vdso, with functions that lead to the kernel's.
func (r *Restorer) placeOther(v *record.VMA) error {
	if uint64(len(r.Foreign)) != v.End-v.Start {
		return fmt.Errorf("%w: pid %d has a vdso of %d bytes, but the image's is one of %d", stream.ErrCorrupt, r.PID, v.End-v.Start, len(r.Foreign))
	}
	led, err := tracee.LeadVDSO(r.Foreign, r.ownVDSO)
	if err != nil {
		return err
	}
	pages := *v
	pages.Shared, pages.VmFlags = false, ""
	r.mmap(&pages, unix.MAP_ANONYMOUS, nil)
	if err := r.make(); err != nil {
		return err
	}
	r.other = tracee.Range{Addr: v.Start, Len: v.End - v.Start}
	return r.Puppet.Overwrite(v.Start, led)
}

// leadAgain leads the vdso of a kernel where the program was before to this kernel's.
func (r *Restorer) leadAgain() error {
	if r.Other.Len == 0 || r.ownVDSO == 0 {
		return nil
	}
	v := r.find(r.Other.Addr)
	if v == nil {
		return nil // the program has unmapped it
	}
	if v.Kind != record.VMAAnon || v.Shared || r.Other.Len > v.End-r.Other.Addr {
		return fmt.Errorf("%w: pid %d has a vdso of another kernel at %#x, where other memory is", stream.ErrCorrupt, r.PID, r.Other.Addr)
	}
	text := make([]byte, min(r.Other.Len, maxVDSO))
	err := r.Puppet.Tracee().ReadMem(r.Other.Addr, text)
	if err == nil {
		text, err = tracee.LeadVDSO(text, r.ownVDSO)
	}
	if err != nil {
		return fmt.Errorf("pid %d: lead its vdso at %#x, of a kernel where it was before, to this kernel's: %w", r.PID, r.Other.Addr, err)
	}
	return r.Puppet.Overwrite(r.Other.Addr, text)
}

// MovedVDSO returns the auxiliary vector of the address space as it is here.
func (r *Restorer) MovedVDSO(auxv []byte) []byte {
	if r.ownVDSO == 0 {
		return auxv
	}
	return tracee.MovedVDSO(auxv, r.ownVDSO, r.other.Len)
}

// inheritVDSO reports whether what fork(2) copied of the parent's vdso stays.
func (r *Restorer) inheritVDSO(parent *Restorer) bool {
	if !sameVDSO(parent.vmas, r.vmas) || parent.Other != r.Other {
		return false
	}
	for i := range r.vmas {
		m := tracee.Range{Addr: r.vmas[i].Start, Len: r.vmas[i].End - r.vmas[i].Start}
		if r.vmas[i].Kind != record.VMAVVar && overlap(m, parent.own) {
			return false
		}
	}
	r.own, r.ownVDSO, r.other = parent.own, parent.ownVDSO, parent.other
	return true
}

package memory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// extentsPerRecord bounds an INHERIT record, well below the limit on metadata.
const extentsPerRecord = 16384

// Inherited divides the pages of a process into those that it still shares, copy on
// write, with its parent at the same address, and its own. The page frame numbers
// tell; without the right to see those, all pages count as its own.
func Inherited(parent, child int, pages []tracee.Range) (inherited, own []tracee.Range, err error) {
	if len(pages) == 0 {
		return nil, nil, nil
	}
	var maps [2]*os.File
	for i, pid := range []int{parent, child} {
		f, err := os.Open(proc.Path(pid, "pagemap"))
		if err != nil {
			return nil, nil, fmt.Errorf("pages of pid %d: %w", pid, err)
		}
		defer f.Close()
		maps[i] = f
	}
	for _, r := range pages {
		err := proc.SamePages(maps[0], maps[1], r.Addr, r.Addr+r.Len, func(start, end uint64, same bool) {
			part := tracee.Range{Addr: start, Len: end - start}
			if same {
				inherited = append(inherited, part)
			} else {
				own = append(own, part)
			}
		})
		if err != nil {
			return nil, nil, fmt.Errorf("pages of pid %d at %x: %w", child, r.Addr, err)
		}
	}
	return inherited, own, nil
}

// SendInherited writes INHERIT records for pages of an address space.
func SendInherited(w *stream.Writer, pid int, id uint64, pages []tracee.Range) error {
	for len(pages) > 0 {
		n := min(len(pages), extentsPerRecord)
		meta := record.Inherit{PID: pid, Refs: record.PartOf{Of: id}}
		for _, r := range pages[:n] {
			meta.Extents = append(meta.Extents, record.Extent{Start: r.Addr, End: r.Addr + r.Len})
		}
		if err := w.Add(record.TypeInherit, &meta); err != nil {
			return err
		}
		pages = pages[n:]
	}
	return nil
}

// kept is a part of an address space that fork(2) copied from the parent and that
// stays, because the child has a mapping of the same object there.
type kept struct {
	start, end uint64
	from       *record.VMA // the mapping of the parent
}

// MapForked turns a forked puppet's address space, which is a copy of its parent's,
// into the one that vmas describe. Mappings that both have stay, and with them the
// pages that the parent has at this moment; Inherit says which of those are right.
func (r *Restorer) MapForked(parent *Restorer, vmas []record.VMA) error {
	r.vmas, r.in, r.parent = vmas, -1, parent
	r.kept = common(parent.vmas, vmas)
	vdsoStays := r.inheritVDSO(parent)
	r.dropRest(parent, vdsoStays)
	if !vdsoStays {
		if err := r.placeVDSO(); err != nil {
			return err
		}
	}
	next := 0
	for i := range vmas {
		v := &vmas[i]
		for next < len(r.kept) && r.kept[next].end <= v.Start {
			next++
		}
		if err := r.mapMissing(v, r.kept[next:]); err != nil {
			return err
		}
	}
	return r.make()
}

// CopyFrom sets the process whose pages INHERIT records mean, for a puppet that was
// not forked from it: they are copied.
func (r *Restorer) CopyFrom(parent *Restorer) { r.parent = parent }

// common finds the parts of the parent's mappings that can stay. The lists ascend.
func common(parent, vmas []record.VMA) []kept {
	var all []kept
	j := 0
	for i := range vmas {
		v := &vmas[i]
		for j < len(parent) && parent[j].End <= v.Start {
			j++
		}
		for k := j; k < len(parent) && parent[k].Start < v.End; k++ {
			if p := &parent[k]; sameMapping(p, v) {
				all = append(all, kept{max(p.Start, v.Start), min(p.End, v.End), p})
			}
		}
	}
	return all
}

// sameMapping reports whether the copy of p that fork(2) makes can serve as v where
// they overlap. A different protection does not matter: it can be changed.
func sameMapping(p, v *record.VMA) bool {
	if p.Kind != v.Kind || p.Shared != v.Shared || p.RW != v.RW || p.Refs.Inode != v.Refs.Inode || p.Anon != v.Anon ||
		kindNamed(p.Kind).restore == nil || ofKernel(p.Kind) {
		return false
	}
	if !tracee.SameMemPolicy(p.NUMA, v.NUMA) {
		return false
	}
	if p.Refs.Inode != 0 && p.Offset-p.Start != v.Offset-v.Start {
		return false
	}
	return serves(p, v) && !has(p, flagDontFork) && !has(p, flagWiped) // those fork(2) does not copy, or copies without pages
}

func sameVDSO(a, b []record.VMA) bool {
	at := func(vmas []record.VMA) uint64 {
		for i := range vmas {
			if vmas[i].Kind == record.VMAVDSO {
				return vmas[i].Start
			}
		}
		return 0
	}
	return at(a) == at(b)
}

// dropRest unmaps what fork(2) copied from the parent and does not stay.
func (r *Restorer) dropRest(parent *Restorer, vdsoStays bool) {
	staying := r.kept
	var run record.Extent // unmapped with one call, including holes
	flush := func() {
		if run.End > run.Start {
			r.call("unmap what only its parent has", unix.SYS_MUNMAP, run.Start, run.End-run.Start)
		}
		run = record.Extent{}
	}
	own := r.Puppet.Own()
	drop := func(start, end uint64) {
		if start >= end {
			return
		}
		between := func(a tracee.Range) bool { return a.Len > 0 && a.Addr >= run.End && a.Addr < start }
		if run.End > run.Start && (r.keepsBetween(run.End, start) || between(own) || between(parent.own)) {
			flush()
		}
		if run.End == run.Start {
			run.Start = start
		}
		run.End = end
	}
	for i := range parent.vmas {
		p := &parent.vmas[i]
		vdso := p.Kind == record.VMAVDSO || p.Kind == record.VMAVVar
		if p.Kind == record.VMAVsyscall || has(p, flagDontFork) && !vdso {
			continue
		}
		if vdso {
			if vdsoStays {
				flush()
			} else {
				drop(p.Start, p.End)
			}
			continue
		}
		at := p.Start
		for len(staying) > 0 && staying[0].start < p.End {
			drop(at, staying[0].start)
			at = staying[0].end
			staying = staying[1:]
		}
		drop(at, p.End)
	}
	flush()
	if !vdsoStays && parent.own.Len > 0 {
		r.call("unmap its parent's vdso", unix.SYS_MUNMAP, parent.own.Addr, parent.own.Len)
	}
}

// keepsBetween reports whether something stays between two addresses.
func (r *Restorer) keepsBetween(start, end uint64) bool {
	stays := r.keptBehind(start)
	return len(stays) > 0 && stays[0].start < end
}

// keptBehind returns the kept parts that end behind an address.
func (r *Restorer) keptBehind(addr uint64) []kept {
	return r.kept[sort.Search(len(r.kept), func(i int) bool { return r.kept[i].end > addr }):]
}

// mapMissing maps the parts of v that did not come from the parent. Those that did
// get the protection they need while pages are filled in.
func (r *Restorer) mapMissing(v *record.VMA, stays []kept) error {
	at := v.Start
	for _, k := range stays {
		if k.start >= v.End {
			break
		}
		if err := r.mapPart(v, at, k.start); err != nil {
			return err
		}
		if at = k.end; mapProt(k.from) != mapProt(v) {
			r.call("protect its mapping", unix.SYS_MPROTECT, k.start, k.end-k.start, uint64(mapProt(v)))
		}
	}
	if at > v.Start && at < v.End {
		if grown, err := r.grow(at, v.End); err != nil || grown {
			return err
		}
	}
	return r.mapPart(v, at, v.End)
}

// grow extends the mapping that ends at from. A new mapping behind it would remain
// separate, because the kernel merges none with a mapping that fork(2) copied, and
// then mremap(2), which the program may call, would fail on the two.
func (r *Restorer) grow(from, to uint64) (grown bool, err error) {
	const page = pageMask + 1
	c := r.call("extend its mapping", unix.SYS_MREMAP, from-page, page, to-from+page, 0, 0).MayFail()
	if err := r.make(); err != nil {
		return false, err
	}
	_, err = c.Result()
	return err == nil, nil
}

func (r *Restorer) mapPart(v *record.VMA, start, end uint64) error {
	if start >= end {
		return nil
	}
	part := *v
	part.Start, part.End, part.Guards = start, end, nil
	if part.Refs.Inode != 0 {
		part.Offset += start - v.Start
	}
	if err := kindNamed(v.Kind).restore(r, &part); err != nil {
		return err
	}
	return r.advise(&part)
}

// Inherit applies an INHERIT record: of what came from the parent these pages stay,
// and those between them are dropped.
func (r *Restorer) Inherit(rec *stream.Record) error {
	var in record.Inherit
	if err := rec.Decode(&in); err != nil {
		return err
	}
	if r.parent == nil {
		return fmt.Errorf("%w: pages of a parent, in a process without one", stream.ErrCorrupt)
	}
	for _, e := range in.Extents {
		v := r.find(e.Start)
		if v == nil || e.Start < r.cursor || e.End <= e.Start || e.End > v.End || (e.Start|e.End)&pageMask != 0 || v.Shared || !kindNamed(v.Kind).pages {
			return fmt.Errorf("%w: pages %x-%x of the parent are not in a private mapping", stream.ErrCorrupt, e.Start, e.End)
		}
		if err := r.dropKept(r.cursor, e.Start); err != nil {
			return err
		}
		if err := r.copyUnkept(e.Start, e.End); err != nil {
			return err
		}
		r.cursor = e.End
	}
	return nil
}

// endInherit drops what came from the parent behind the last page that stays. The
// process's own pages are filled in after that.
func (r *Restorer) endInherit() error {
	if r.parent == nil || r.cursor == taskSize {
		return nil
	}
	at := r.cursor
	r.cursor = taskSize
	if err := r.dropKept(at, taskSize); err != nil {
		return err
	}
	return r.drop()
}

// dropKept notes the pages of private mappings in a range, so that drop discards
// them. Ranges ascend.
func (r *Restorer) dropKept(start, end uint64) error {
	for ; r.dropped < len(r.kept) && r.kept[r.dropped].end <= start; r.dropped++ {
	}
	for _, k := range r.kept[r.dropped:] {
		if k.start >= end {
			break
		}
		if k.from.Shared {
			continue
		}
		from, to := max(start, k.start), min(end, k.end)
		r.drops = binary.LittleEndian.AppendUint64(r.drops, from)
		r.drops = binary.LittleEndian.AppendUint64(r.drops, to-from)
		if len(r.drops) == 16*iovMax {
			if err := r.drop(); err != nil {
				return err
			}
		}
	}
	return nil
}

// pidfdSelf stands for the calling thread, see PIDFD_SELF in uapi linux/pidfd.h.
const pidfdSelf = 1<<64 - 10000

// drop drops what dropKept noted: with one call if the kernel lets a process do that
// to itself (since 6.14), otherwise range by range.
func (r *Restorer) drop() error {
	ranges := r.drops
	r.drops = r.drops[:0]
	if len(ranges) == 0 {
		return nil
	}
	at := r.vector().Put(ranges)
	c := r.call("drop pages that only its parent has", unix.SYS_PROCESS_MADVISE, pidfdSelf, at, uint64(len(ranges)/16), unix.MADV_DONTNEED, 0).MayFail()
	if err := r.make(); err != nil {
		return err
	}
	if _, err := c.Result(); err == nil {
		return nil
	}
	for ; len(ranges) > 0; ranges = ranges[16:] {
		from, n := binary.LittleEndian.Uint64(ranges), binary.LittleEndian.Uint64(ranges[8:])
		r.call("drop pages that only its parent has", unix.SYS_MADVISE, from, n, unix.MADV_DONTNEED)
	}
	return r.make()
}

// copyUnkept copies pages of the parent to where its mapping could not stay. The
// content is right, but no longer shared.
func (r *Restorer) copyUnkept(start, end uint64) error {
	for _, k := range r.keptBehind(start) {
		if k.start >= end {
			break
		}
		if start < k.start {
			if err := r.copyPages(start, k.start); err != nil {
				return err
			}
		}
		start = min(end, k.end)
	}
	return r.copyPages(start, end)
}

func (r *Restorer) copyPages(start, end uint64) error {
	if start >= end {
		return nil
	}
	mem, err := r.forced()
	if err != nil {
		return err
	}
	from, err := r.parent.Puppet.Tracee().OpenMem()
	if err == nil {
		_, err = io.Copy(io.NewOffsetWriter(mem, int64(start)), io.NewSectionReader(from, int64(start), int64(end-start)))
		err = errors.Join(err, from.Close())
	}
	if err != nil {
		return fmt.Errorf("pid %d: copy its parent's pages at %x: %w", r.PID, start, err)
	}
	return nil
}

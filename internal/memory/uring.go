package memory

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// uringPath is what the memory of an io_uring is called.
const uringPath = "anon_inode:[io_uring]"

func isUring(m *proc.Mapping) bool { return m.Path == uringPath }

func collectUring(c *Collector, m *proc.Mapping, v *record.VMA) error {
	if m.Offset != sys.UringOffRings && m.Offset != sys.UringOffCQ && m.Offset != sys.UringOffSQEs {
		c.Block(fmt.Errorf("its mapping at %x-%x (%s) is a part, but not the beginning, of the memory of an io_uring, which can't be saved", m.Start, m.End, m.Path))
		return nil
	}
	return collectInode(c, m, v)
}

// lowestAddress is where a process without privileges may map memory, by default
// (vm.mmap_min_addr).
const lowestAddress = 1 << 16

// mapUring maps the memory of an io_uring. The kernel does not let a program say where it
// is to be (io_uring_get_unmapped_area in io_uring/memmap.c), but puts it where there is
// room. So for a moment there is room in one place only.
func (r *Restorer) mapUring(v *record.VMA) error {
	if err := r.make(); err != nil {
		return err
	}
	f, err := r.Open(v.Refs.Inode, unix.O_RDWR)
	if err != nil {
		return err
	}
	r.open = append(r.open, f)
	maps, err := proc.ReadMaps(r.PID)
	if err != nil {
		return err
	}
	gaps := gapsBetween(maps, v.Start, v.End)
	for _, g := range gaps {
		r.call("fill its address space", unix.SYS_MMAP, g.Addr, g.Len, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE|mapFixedNoreplace, ^uint64(0), 0)
	}
	fd := r.Puppet.GiveIn(r.vector(), int(f.Fd()))
	what := fmt.Sprintf("map the memory of an io_uring at %x-%x", v.Start, v.End)
	r.at(v, r.call(what, unix.SYS_MMAP, 0, v.End-v.Start, uint64(v.Prot), unix.MAP_SHARED, 0, v.Offset).From(4, fd), what)
	r.call("close", unix.SYS_CLOSE, 0).From(0, fd)
	for _, g := range gaps {
		r.call("empty its address space", unix.SYS_MUNMAP, g.Addr, g.Len)
	}
	return r.make()
}

// gapsBetween returns the ranges that neither the mappings of an address space, in
// ascending order, nor the range from start to end occupy.
func gapsBetween(maps []proc.Mapping, start, end uint64) (gaps []tracee.Range) {
	at := uint64(lowestAddress)
	upTo := func(low, high uint64) {
		if low = min(low, taskSize&^pageMask); low > at {
			gaps = append(gaps, tracee.Range{Addr: at, Len: low - at})
		}
		at = max(at, high)
	}
	told := false
	for i := range maps {
		if !told && maps[i].Start >= end {
			upTo(start, end)
			told = true
		}
		upTo(maps[i].Start, maps[i].End)
	}
	if !told {
		upTo(start, end)
	}
	upTo(taskSize, taskSize)
	return gaps
}

// Package memory saves and restores address spaces: their mappings, and the pages
// that have content of their own.
package memory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// Collector describes one address space, whose tasks are stopped.
type Collector struct {
	PID int
	At  int    // a thread that has it, by which /proc shows it
	ID  uint64 // of the MM record
	// Emit adds a record to the stream.
	Emit func(t record.Type, meta any) error
	// DescribeMapped describes the file behind a mapping, and returns the number of its
	// record.
	DescribeMapped func(m *proc.Mapping) (uint64, error)
	// NewID returns a new number for an object that this package emits itself.
	NewID func() uint64
	// Content arranges for the bytes of the file that a link leads to to be sent
	// with the bulk data, under an object's number, once for each ident.
	Content func(id uint64, ident, link string) error
	// Tail does the same for what is behind the end of the file, in its last page.
	Tail func(id uint64, ident, link string)
	// Loan makes system calls in the process; nil if none can be made.
	Loan tracee.Caller
	// Block notes something that stands in the way of a checkpoint.
	Block func(reason error)
	// OwnIPC: the process is in an IPC namespace of the tree's own.
	OwnIPC bool
	// Known are the numbers of files that have been described. The map is shared
	// by all address spaces.
	Known map[Mapped]uint64

	// Pages holds, after Collect, the pages to send.
	Pages []tracee.Range
}

// Mapped is what /proc/PID/maps says about a mapped file.
type Mapped struct {
	dev, ino uint64
	path     string
}

// Collect emits a VMA record for every mapping and finds the pages to send.
func (c *Collector) Collect(maps []proc.Mapping) error {
	pagemap, err := os.Open(proc.Path(c.At, "pagemap"))
	if err != nil {
		return fmt.Errorf("pages of pid %d: %w", c.PID, err)
	}
	defer pagemap.Close()
	placed, err := proc.ReadPlaced(c.At)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for i := range maps {
		m := &maps[i]
		kind := kindOf(m)
		if why := obstacle(m, kind); why != "" {
			c.Block(fmt.Errorf("its mapping at %x-%x (%s) is %s, which can't be saved", m.Start, m.End, m.Path, why))
			continue
		}
		v := record.VMA{PID: c.PID, Start: m.Start, End: m.End, Kind: kind.name, Prot: uint32(m.Prot), Shared: m.Shared,
			Offset: m.Offset, Name: m.Path, VmFlags: string(m.VmFlags), RW: m.Shared && m.VmFlags.Has(flagMayWrite),
			HugePage: hugePage(m), Refs: record.VMARefs{Of: c.ID}}
		if name, ok := m.AnonName(); ok {
			v.Anon = name
		}
		if err := kind.collect(c, m, &v); err != nil {
			return err
		}
		if err := c.pkey(m, &v); err != nil {
			return err
		}
		if placed[m.Start] && c.Loan != nil {
			a, err := tracee.Ask(c.Loan, tracee.MemPolicyAt(m.Start))
			if err != nil {
				return err
			}
			if v.NUMA, err = c.Loan.Tracee().MemPolicy(a); err != nil {
				return err
			}
		}
		if kind.pages && !m.Shared && !m.VmFlags.Has(flagDroppable) {
			if err := c.scan(pagemap, m); err != nil {
				return err
			}
		}
		if !ofKernel(kind.name) && guardsAreKnown() {
			if err := c.scanGuards(pagemap, m, &v); err != nil {
				return err
			}
		}
		if err := c.Emit(record.TypeVMA, &v); err != nil {
			return err
		}
	}
	return nil
}

// scan finds a private mapping's own pages.
func (c *Collector) scan(pagemap *os.File, m *proc.Mapping) error {
	own, err := proc.ScanPages(pagemap, m.Start, m.End, proc.ContentPages)
	if err != nil {
		return fmt.Errorf("pages of pid %d at %x-%x: %w", c.PID, m.Start, m.End, err)
	}
	for _, p := range own {
		c.Pages = append(c.Pages, tracee.Range{Addr: p.Start, Len: p.End - p.Start})
	}
	return nil
}

// guardsAreKnown reports whether this kernel has guard pages. In the first kernels that
// had them only private anonymous mappings could; now shared ones may have some, too.
var guardsAreKnown = sync.OnceValue(func() bool { return sys.KnowsAdvice(madvGuardInstall) })

// scanGuards finds a mapping's guard pages.
func (c *Collector) scanGuards(pagemap *os.File, m *proc.Mapping, v *record.VMA) error {
	guards, err := proc.ScanPages(pagemap, m.Start, m.End, proc.GuardPages)
	if err != nil {
		return fmt.Errorf("guard pages of pid %d at %x-%x: %w", c.PID, m.Start, m.End, err)
	}
	for _, g := range guards {
		v.Guards = append(v.Guards, record.Extent{Start: g.Start, End: g.End})
	}
	return nil
}

package memory

import (
	"strings"

	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// kind is a kind of mapping, one row of kinds.
type kind struct {
	name  string
	match func(m *proc.Mapping) bool
	// collect fills in what is specific to the kind.
	collect func(c *Collector, m *proc.Mapping, v *record.VMA) error
	// pages: private mappings of the kind have pages of their own.
	pages bool
	// restore maps it in a puppet.
	restore func(r *Restorer, v *record.VMA) error
}

// kinds are tried in order; the first that matches takes the mapping.
var kinds = [...]kind{
	{record.VMAVDSO, named("[vdso]"), nothing, false, placedByKernel},
	{record.VMAVVar, func(m *proc.Mapping) bool { return strings.HasPrefix(m.Name(), "[vvar") }, nothing, false, placedByKernel},
	{record.VMAVsyscall, named("[vsyscall]"), nothing, false, placedByKernel},
	{record.VMAShmem, isShmem, collectShmem, true, restoreMapped},
	{record.VMASysVShm, isSysVShm, collectSysVShm, false, (*Restorer).attach},
	{record.VMAHuge, isHuge, nothing, true, restoreAnon},
	{record.VMADev, func(m *proc.Mapping) bool { return m.Path == "/dev/zero" && !m.Shared }, collectInode, true, restoreMapped},
	{record.VMAUring, isUring, collectUring, false, (*Restorer).mapUring},
	{record.VMAFile, func(m *proc.Mapping) bool { return m.Inode != 0 }, collectInode, true, restoreMapped},
	{record.VMAAnon, func(*proc.Mapping) bool { return true }, nothing, true, restoreAnon},
}

// Plenty names, for messages, what there can be so many of that a record of the type
// can't hold them.
var Plenty = map[record.Type]string{record.TypeVMA: "guard pages in one mapping"}

func kindOf(m *proc.Mapping) *kind {
	for i := range kinds {
		if kinds[i].match(m) {
			return &kinds[i]
		}
	}
	panic("the last kind matches everything")
}

func kindNamed(name string) *kind {
	for i := range kinds {
		if kinds[i].name == name {
			return &kinds[i]
		}
	}
	return nil
}

func named(name string) func(*proc.Mapping) bool {
	return func(m *proc.Mapping) bool { return m.Name() == name }
}

func nothing(*Collector, *proc.Mapping, *record.VMA) error { return nil }

// isShmem includes private mappings of the object, which can be made through
// map_files.
func isShmem(m *proc.Mapping) bool {
	return strings.HasPrefix(m.Path, "[anon_shmem:") || kernelsOwn(m) && (m.Path == "/dev/zero (deleted)" || m.Shared && m.Path == anonHuge)
}

// IsNameless reports whether a mapping is of memory that only the kernel's link to it, see
// proc.Mapping.Link, leads to.
func IsNameless(m *proc.Mapping) bool { return isShmem(m) || isSysVShm(m) }

// kernelsOwn reports whether it was the kernel that named the memory of a mapping: a
// program can give the same name to a file of its own.
func kernelsOwn(m *proc.Mapping) bool {
	dev, err := sys.ShmemDev()
	return m.VmFlags.Has(flagHuge) || err == nil && m.Dev == dev
}

// anonHuge is the kernel's name for anonymous memory in huge pages.
const anonHuge = "/anon_hugepage (deleted)"

func isHuge(m *proc.Mapping) bool { return !m.Shared && m.Path == anonHuge && kernelsOwn(m) }

// obstacle says why a mapping can't be saved, or "".
func obstacle(m *proc.Mapping, k *kind) string {
	if ofKernel(k.name) || k.name == record.VMAUring { // whose file says whether it can be saved
		return ""
	}
	if what := blockedBy(m); what != "" {
		return what
	}
	switch {
	case m.Path == "/secretmem (deleted)":
		return "secret memory (memfd_secret)"
	case m.Path == "/[aio] (deleted)":
		return "the ring of an asynchronous I/O context (io_setup)"
	case !m.Shared && strings.HasPrefix(m.Path, "/SYSV") && strings.HasSuffix(m.Path, " (deleted)"):
		return "a private mapping of System V shared memory"
	case strings.HasPrefix(m.Path, "socket:"):
		return "memory of a socket"
	case strings.HasPrefix(m.Path, "anon_inode:"):
		return "memory of a special file"
	case m.Name() == "[uprobes]":
		return "for uprobes"
	}
	return ""
}

func collectInode(c *Collector, m *proc.Mapping, v *record.VMA) (err error) {
	key := Mapped{m.Dev, m.Inode, m.Path}
	if v.Refs.Inode = c.Known[key]; v.Refs.Inode != 0 {
		return nil
	}
	v.Refs.Inode, err = c.DescribeMapped(m)
	c.Known[key] = v.Refs.Inode
	return err
}

// hugePage is the size of a mapping's pages if they are of hugetlbfs, else 0.
func hugePage(m *proc.Mapping) uint64 {
	if !m.VmFlags.Has(flagHuge) {
		return 0
	}
	return m.KernelPageSize
}

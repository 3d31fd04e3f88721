package stream

// Kinds of VMA.
const (
	VMAAnon     = "anon"     // private anonymous: heap, stack, malloc
	VMAFile     = "file"     // a REG, private or shared
	VMAShmem    = "shmem"    // a SHMEM, shared
	VMADev      = "dev"      // a CHARDEV: /dev/zero, private
	VMAVDSO     = "vdso"     // placed by the kernel, contents are its own
	VMAVVar     = "vvar"     // likewise
	VMAVsyscall = "vsyscall" // at one address in every process, never touched
)

// VMA is one mapping of an address space.
type VMA struct {
	PID     int      `cbor:"pid"`
	Start   uint64   `cbor:"start"`
	End     uint64   `cbor:"end"`
	Kind    string   `cbor:"kind"`
	Prot    uint32   `cbor:"prot"`             // PROT_ bits, see mmap(2)
	Shared  bool     `cbor:"shared,omitempty"` // MAP_SHARED
	Offset  uint64   `cbor:"offset,omitempty"` // in the mapped object, bytes
	Name    string   `cbor:"name,omitempty"`   // the last column of /proc/PID/maps, for people
	VmFlags string   `cbor:"vmflags"`          // as /proc/PID/smaps has them
	RW      bool     `cbor:"rw,omitempty"`     // the object was mapped from a descriptor open for writing
	Anon    string   `cbor:"anon_name,omitempty"`
	Guards  []Extent `cbor:"guards,omitempty"` // ranges under MADV_GUARD_INSTALL
	Refs    VMARefs  `cbor:"refs"`
}

// VMARefs is VMA's refs map.
type VMARefs struct {
	Of    uint64 `cbor:"of"`              // the MM
	Inode uint64 `cbor:"inode,omitempty"` // what is mapped
}

// Extent is a range of addresses, page aligned, End exclusive.
type Extent struct {
	_     struct{} `cbor:",toarray"`
	Start uint64
	End   uint64
}

// Pages is the meta of PAGES; data is the contents of the extents, one after
// the other. Pages that no record names are zero or as in the mapped file.
type Pages struct {
	PID     int      `cbor:"pid"`
	Extents []Extent `cbor:"extents"`
	Refs    PartOf   `cbor:"refs"` // the MM
}

// Inherit names pages that a process still shares, copy on write, with its
// parent: content and address are the same. Those of one MM ascend, and stand
// behind the parent's PAGES and before its own.
type Inherit struct {
	PID     int      `cbor:"pid"`
	Extents []Extent `cbor:"extents"`
	Refs    PartOf   `cbor:"refs"` // the MM
}

// Shmem is the object behind shared anonymous mappings. Its bytes come in
// CONTENT records.
type Shmem struct {
	Object
	Size uint64 `cbor:"size"` // bytes
}

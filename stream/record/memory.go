package record

// Kinds of VMA.
const (
	VMAAnon     = "anon"     // private anonymous: heap, stack, malloc
	VMAFile     = "file"     // a REG or MEMFD, private or shared
	VMAShmem    = "shmem"    // a SHMEM, private or shared
	VMASysVShm  = "sysvshm"  // a SYSVSHM, shared, attached by shmat(2)
	VMAHuge     = "huge"     // private anonymous in huge pages of hugetlbfs
	VMADev      = "dev"      // a CHARDEV: /dev/zero, private
	VMAUring    = "uring"    // an IOURING, its memory
	VMAVDSO     = "vdso"     // placed by the kernel, contents are its own
	VMAVVar     = "vvar"     // likewise
	VMAVsyscall = "vsyscall" // at one address in every process, never touched
)

// VMA is one mapping of an address space.
type VMA struct {
	PID     int      `cbor:"pid" range:"pid"`                                                        // a process that has the address space
	Start   uint64   `cbor:"start" range:"address"`                                                  // its first byte
	End     uint64   `cbor:"end" range:"address"`                                                    // behind its last byte
	Kind    string   `cbor:"kind" range:"anon|file|shmem|sysvshm|huge|dev|uring|vdso|vvar|vsyscall"` // what is mapped
	Prot    uint32   `cbor:"prot" range:"0..7"`                                                      // PROT_ bits, see mmap(2)
	Shared  bool     `cbor:"shared,omitempty"`                                                       // MAP_SHARED
	Offset  uint64   `cbor:"offset,omitempty" unit:"byte"`                                           // in the mapped object
	Name    string   `cbor:"name,omitempty"`                                                         // the last column of /proc/PID/maps, for people
	VmFlags string   `cbor:"vmflags"`                                                                // as /proc/PID/smaps has them
	RW      bool     `cbor:"rw,omitempty"`                                                           // the object was mapped from a descriptor open for writing
	Anon    string   `cbor:"anon_name,omitempty" range:"..79"`                                       // PR_SET_VMA_ANON_NAME
	Guards  []Extent `cbor:"guards,omitempty"`                                                       // ranges under MADV_GUARD_INSTALL
	// HugePage is the size of its pages where they are of hugetlbfs.
	HugePage uint64 `cbor:"huge_page,omitempty" unit:"byte"`
	// NUMA is absent where it has no policy of its own.
	NUMA *MemPolicy `cbor:"numa,omitempty"`
	// Pkey is its memory protection key, see pkeys(7).
	Pkey int `cbor:"pkey,omitempty" range:"0..15" since:"0.2"`
	// ExecOnly: the kernel chose that key, to make memory that has only PROT_EXEC
	// unreadable.
	ExecOnly bool    `cbor:"exec_only,omitempty" since:"0.2"`
	Refs     VMARefs `cbor:"refs"` // the address space and what is mapped
}

// VMARefs is VMA's refs map.
type VMARefs struct {
	Of    uint64 `cbor:"of"`              // the MM
	Inode uint64 `cbor:"inode,omitempty"` // what is mapped
}

// Extent is a range of addresses, page aligned.
type Extent struct {
	_     struct{} `cbor:",toarray"`
	Start uint64   `range:"address"` // its first byte
	End   uint64   `range:"address"` // behind its last byte
}

// Pages is the meta of PAGES; its data is the contents of the extents, one after
// the other. Pages that no record names are zero or as in the mapped file.
type Pages struct {
	PID     int      `cbor:"pid" range:"pid"` // a process that has the address space
	Extents []Extent `cbor:"extents"`         // which pages, ascending
	Refs    PartOf   `cbor:"refs"`            // the MM
}

// Inherit names pages that a process still shares, copy on write, with its
// parent: content and address are the same. Those of one MM ascend, and stand
// behind the parent's PAGES and before its own.
type Inherit struct {
	PID     int      `cbor:"pid" range:"pid"` // a process that has the address space
	Extents []Extent `cbor:"extents"`         // which pages, ascending
	Refs    PartOf   `cbor:"refs"`            // the MM
}

// Shmem is the object behind shared anonymous mappings. Its bytes come in
// CONTENT records.
type Shmem struct {
	Object
	Size     uint64 `cbor:"size" unit:"byte"`                // of the object
	HugePage uint64 `cbor:"huge_page,omitempty" unit:"byte"` // as of VMA
}

// SysVShm is a System V shared memory segment, see shmget(2). Its bytes come in
// CONTENT records.
type SysVShm struct {
	Object
	ShmID int    `cbor:"shmid" range:"0..2^31-1"` // its identifier
	Key   int32  `cbor:"key"`                     // its key; 0: IPC_PRIVATE
	Size  uint64 `cbor:"size" unit:"byte"`        // shm_segsz
	Mode  uint32 `cbor:"mode" range:"0..2^11-1"`  // permissions, SHM_DEST (01000) of one that was removed, SHM_LOCKED (02000) of one that can't be swapped out
	UID   uint32 `cbor:"uid"`                     // of its owner
	GID   uint32 `cbor:"gid"`                     // of its owner
	// Its page size, a power of two, if that is not the normal one.
	HugePage uint64 `cbor:"huge_page,omitempty" unit:"byte" since:"0.2"`
	// Who made it, if it is of an IPC namespace of the tree's own.
	Creator *SysVCreator `cbor:"creator,omitempty" since:"0.2"`
}

// SysVCreator is who made an object of System V.
type SysVCreator struct {
	UID uint32 `cbor:"uid" since:"0.2"` // its effective user
	GID uint32 `cbor:"gid" since:"0.2"` // its effective group
}

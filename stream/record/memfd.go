package record

// MemFD is a file of memfd_create(2). Its bytes come in CONTENT records.
type MemFD struct {
	Object
	Name    string `cbor:"name"`
	Size    int64  `cbor:"size"` // bytes
	Mode    uint32 `cbor:"mode"` // st_mode
	UID     uint32 `cbor:"uid"`
	GID     uint32 `cbor:"gid"`
	MtimeNS int64  `cbor:"mtime_ns"`
	Seals   int    `cbor:"seals,omitempty"`     // F_SEAL bits, see fcntl(2)
	HugeTLB int64  `cbor:"huge_page,omitempty"` // MFD_HUGETLB: bytes of a huge page; 0: none
}
